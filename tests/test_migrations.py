"""What an earlier version wrote still loads, evaluates, resumes and exports: tests/fixtures has one of each."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open

import mnist_seq
from mnist_seq.compose_config import job_name
from mnist_seq.config import EvaluateConfig, StringConfig, migrations
from mnist_seq.config.renamed_keys import migrate_overrides, rename_flat_keys, training_keys, version_1_overrides
from mnist_seq.config.serialization import data_from_dict
from mnist_seq.errors import UserError
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.sweeps import summary
from tests.conftest import TINY
from tests.e2e.forked_command import run

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
RUNS = sorted(path.parent.relative_to(FIXTURES) for path in FIXTURES.rglob("weights.safetensors"))
PRETRAINED = Path(mnist_seq.__file__).parent / "pretrained"
NEW_SPELLING = {"heads": "num_heads", "patch": "patch_size"}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixtures, in which the test runs."""
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_new_spelling(overrides: list[str]) -> list[str]:
    """The fixtures' overrides as a user writes them now."""
    for old, new in NEW_SPELLING.items():
        overrides = [it.replace(f"model.{old}=", f"model.{new}=") for it in overrides]
    return overrides


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parts[0]}-{path.parts[1]}-{path.name[-4:]}")
def test_an_old_run_loads_and_evaluates_as_before(path: Path, copied: Path) -> None:
    reader = mnist_seq.load(path)
    assert len(reader.read_canvases(torch.rand(2, reader.model.spec.height, reader.model.spec.width))) == 2
    before = Run(path).metrics["val"]
    result = load_evaluator(EvaluateConfig(run=str(path))).evaluate().summary()
    assert result["exact_match"] == before["exact_match"]
    assert result["loss"] == pytest.approx(before["loss"], abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_run_resumes(version: str, copied: Path) -> None:
    for name in ("run", "classifier"):
        resumed = mnist_seq.fit(f"resume={Path(version, name)}", "trainer.max_steps=16")
        assert resumed.metrics["steps"] == 16
        assert [int(row["step"]) for row in resumed.logged_metrics if "val/exact_match" in row] == [5, 10, 12, 15, 16]
        saved = yaml.safe_load((resumed.path / "config.yaml").read_text())
        assert saved["schema_version"] == migrations.SCHEMA_VERSION
        assert "num_heads" in saved["model"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_sweep_is_summarized(version: str) -> None:
    members = summary.load_runs(summary.find_runs(FIXTURES / version / "sweep"))
    assert {member.overrides["model.norm"] for member in members} == {"pre", "post"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_run_and_a_new_one_have_the_same_overrides(version: str, tmp_path: Path) -> None:
    old = next(Path(FIXTURES / version / "sweep").glob("*/metrics.json"))
    overrides = Run(old.parent).metrics["overrides"]
    new = mnist_seq.fit(*in_new_spelling(json.loads(old.read_text())["overrides"]), f"hydra.run.dir={tmp_path}/new")
    assert [it for it in new.metrics["overrides"] if not it.startswith("hydra.")] == overrides


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PRETRAINED.glob("*/model.json")))
def test_an_old_model_card_and_its_weights_load_into_this_version(name: str, tmp_path: Path) -> None:
    with safe_open(PRETRAINED / name / "weights.safetensors", "pt") as file:
        saved = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    card = json.loads((PRETRAINED / name / "model.json").read_text())
    reader = mnist_seq.load(f"pretrained:{name}")
    assert sorted(weight.float().sum().item() for weight in reader.model.state_dict().values()) == pytest.approx(
        sorted(weight.float().sum().item() for weight in saved.values()), rel=1e-3
    )
    assert reader.model.spec.max_length == card["spec"].get("max_length", card["spec"].get("max_digits"))
    clean = card["data"].get("augment", {}).get("clean")
    if clean is not None:
        assert reader.card["data"]["augment"]["p"] == 1 - clean


def test_parameters_of_old_checkpoints_get_the_names_of_this_version(tmp_path: Path) -> None:
    """Of every part that a built-in model can have: the fixtures and the included models have few of them."""
    run = mnist_seq.fit("model=enc_dec", "data=grid", *TINY, "model.stem=conv", f"hydra.run.dir={tmp_path}/run")
    state = weights.load(run.path)[0].state_dict()
    inverse = {"q_proj": "to_query", "kv_proj": "to_memory", "out_proj": "merge", "fc1": "widen", "fc2": "shrink"}
    inverse |= {"attention_residual": "around_attention", "cross_attention_residual": "around_cross"}
    inverse |= {"feed_forward_residual": "around_feed_forward", "patch_embed": "patches", "pos_embed": "position"}
    inverse |= {"token_embed": "tokens", "lm_head": "to_logits", "attention_pool": "weigh"}
    former = {".".join(inverse.get(part, part) for part in name.split(".")): value for name, value in state.items()}
    assert former.keys() != state.keys()
    assert list(migrations.migrate_state_dict(former, {"model": {"name": "enc_dec"}})) == list(state)
    assert migrations.migrate_state_dict(former, {"model": {"name": "custom"}}) is former


CONFIG: dict[str, Any] = {
    "model": {"name": "enc_dec", "heads": 2, "dim_k": None},
    "data": {"family": "mixed", "fixed": 3, "augment": {"clean": 0.25}, "parts": {"a": {"longest": 8, "tries": 2}}},
    "optim": {"final_lr": 0.1},
}
MIGRATED: dict[str, Any] = {
    "model": {"name": "enc_dec", "num_heads": 2, "head_dim": None},
    "data": {
        "family": "mixed",
        "num_train_scenes": 3,
        "augment": {"p": 0.75},
        "parts": {"a": {"max_length": 8, "max_attempts": 2}},
    },
    "optim": {"final_lr_ratio": 0.1},
}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def test_a_migrated_config_has_the_new_keys_in_their_order_and_the_converted_values() -> None:
    before = copy.deepcopy(CONFIG)
    assert migrations.migrate_config(CONFIG, "x") == MIGRATED
    assert before == CONFIG, "the values read stay as they are"
    assert rename_flat_keys(flat(CONFIG)) == flat(MIGRATED)
    current = MIGRATED | {"schema_version": migrations.SCHEMA_VERSION}
    assert migrations.migrate_config(current, "x") == MIGRATED


def test_family_line_of_earlier_versions_is_string_alone_and_in_mixtures() -> None:
    line, string = {"family": "line", "min_advance": 20}, {"family": "string", "min_advance": 20}
    for version, expected in ((2, string), (migrations.SCHEMA_VERSION, line)):
        for data, migrated in ((line, expected), ({"parts": {"a": line}}, {"parts": {"a": expected}})):
            config = {"schema_version": version, "data": data}
            assert migrations.migrate_config(config, "x") == {"data": migrated}
            assert migrations.migrate_card(config, "x")["data"] == migrated
            assert migrations.migrate_settings(flat({"data": data}), version) == flat({"data": migrated})
    assert data_from_dict(migrations.migrate_config({"data": {"family": "line"}}, "x")["data"]) == StringConfig()


@pytest.mark.parametrize("version", range(1, migrations.SCHEMA_VERSION))
def test_keys_are_renamed_in_files_of_every_earlier_version(version: int) -> None:
    config = {"schema_version": version, "data": {"fixed": 3}}
    assert migrations.migrate_config(config, "x") == {"data": {"num_train_scenes": 3}}


def test_keys_of_a_custom_model_are_never_renamed() -> None:
    model = {"name": "custom", "_target_": "mine.Reader", "heads": 2, "patch": 7}
    assert migrations.migrate_config({"model": model, "data": {"fixed": 3}}, "x") == {
        "model": model,
        "data": {"num_train_scenes": 3},
    }
    assert rename_flat_keys(flat({"model": model})) == flat({"model": model})
    overrides = ["model=mine", "model.heads=2", "data.fixed=3"]
    migrated = migrations.migrate_metrics({"overrides": overrides}, lambda: True)
    assert migrated["overrides"] == ["model=mine", "model.heads=2", "data.num_train_scenes=3"]
    named = ["model=custom", "model._target_=mine.Reader", "model.num_heads=2"]
    assert version_1_overrides(named) == named


def test_overrides_of_version_1_and_back_are_the_same() -> None:
    old = ["model.heads=2", "+data.fixed=3", "data.augment.clean=0.25", "data.parts.a.drop=true", "seed=1"]
    new = migrate_overrides(old, custom_model=False)
    assert new == [
        "model.num_heads=2",
        "+data.num_train_scenes=3",
        "data.augment.p=0.75",
        "data.parts.a.drop_unplaced=true",
        "seed=1",
    ]
    assert version_1_overrides(new) == old
    assert len(set(training_keys(False).values())) == len(training_keys(False)), "no two old keys have one new name"


@pytest.mark.parametrize("version", [migrations.SCHEMA_VERSION + 1, "later"])
def test_a_later_schema_version_is_refused_in_a_line(version: Any, copied: Path) -> None:
    folder = next(path for path in copied.rglob("run") if path.is_dir())
    later = f"was written by a later version of mnist_seq \\(schema {version}\\): update mnist_seq"
    card = folder / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"schema_version": version}))
    with pytest.raises(UserError, match=f"model.json {later}"):
        weights.load(folder / "weights.safetensors")
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["reader"]["schema_version"] = version
    torch.save(checkpoint, folder / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match=f"last.ckpt {later}"):
        mnist_seq.load(folder / "checkpoints/last.ckpt")
    config = folder / "config.yaml"
    config.write_text(f"schema_version: {version}\n{config.read_text()}")
    with pytest.raises(UserError, match=f"config.yaml {later}"):
        mnist_seq.fit(f"resume={folder}", "trainer.max_steps=16")


@pytest.mark.parametrize("version", VERSIONS)
def test_jobs_of_an_old_sweep_keep_their_directories(version: str) -> None:
    for path in (FIXTURES / version / "sweep").glob("*/metrics.json"):
        overrides = [it for it in json.loads(path.read_text())["overrides"] if not it.startswith("hydra.")]
        assert job_name(overrides) == path.parent.name
        assert job_name(version_1_overrides(in_new_spelling(overrides))) == path.parent.name


def migrate_preset(path: Path) -> None:
    """Rewrite a search preset as the error messages ask."""
    text = path.read_text().replace("\nto:", "\noutput_dir:").replace("data.empty", "data.p_empty")
    for old, new in NEW_SPELLING.items():
        text = text.replace(f"model.{old}", f"model.{new}")
    path.write_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_old_runs_serve_every_command(version: str, copied: Path) -> None:
    here = copied / version
    for name in ("run", "classifier"):
        run(here, "mnist_seq.evaluate", f"run={name}", "report=false")
        run(here, "mnist_seq.report", f"run={name}")
        for form in ("weights", "onnx"):
            arguments = (f"run={name}", f"format={form}", f"name={name}", "output_dir=exported")
            run(here, "mnist_seq.export", *arguments)
    run(here, "mnist_seq.compare", "runs=[sweep]")
    for name in ("run", "classifier"):
        reader, exported = mnist_seq.load(here / name), mnist_seq.load(here / f"exported/{name}/weights.safetensors")
        canvas = torch.rand(2, reader.model.spec.height, reader.model.spec.width)
        assert [it.digits for it in reader.read_canvases(canvas)] == [
            it.digits for it in exported.read_canvases(canvas)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_sweep_started_again_with_new_keys_uses_its_directories(version: str, copied: Path) -> None:
    here = copied / version
    before = sorted(path.name for path in (here / "sweep").iterdir() if path.is_dir())
    first = next((here / "sweep").glob("*/metrics.json"))
    overrides = [it for it in json.loads(first.read_text())["overrides"] if not it.startswith("hydra.")]
    common = [it for it in in_new_spelling(overrides) if not it.startswith("model.norm=")]
    out, _ = run(here, "mnist_seq.train", "-m", "model.norm=pre,post", *common, "hydra.sweep.dir=sweep")
    assert out.count("is finished: skipped") == 2
    assert sorted(path.name for path in (here / "sweep").iterdir() if path.is_dir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["old", "old_heads"])
def test_an_old_search_continues_with_a_migrated_preset(name: str, version: str, copied: Path) -> None:
    import optuna

    here = copied / version
    search = ("mnist_seq.search", "--config-dir", "presets", f"search={name}", "n_trials=3", "pruner=none")
    _, err = run(here, *search, code=1)
    assert err == "mnist_seq: presets/search/old.yaml: to is now output_dir\n"
    for path in (here / "presets/search").glob("*.yaml"):
        migrate_preset(path)
        text = path.read_text(encoding="utf-8")  # trainer=cpu trained in float32 then
        path.write_text(text.replace("trainer=cpu,", "trainer=cpu, trainer.precision=32-true,"), encoding="utf-8")
    run(here, *search)
    folder = here / ("search_heads" if name == "old_heads" else "search")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/study.db")
    trials = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len(trials) == 3
    assert len({tuple(trial.params) for trial in trials}) == 1, "the sampler learns from trials by parameter name"
    assert (folder / "trial-0002/weights.safetensors").is_file()
    if name == "old_heads":
        assert set(trials[2].params) == {"model.heads", "data.empty"}
        assert "model.num_heads" in " ".join(Run(folder / "trial-0002").metrics["overrides"])
    else:
        first = json.loads((here / "search/trial-0000/metrics.json").read_text())
        assert first == json.loads((FIXTURES / version / "search/trial-0000/metrics.json").read_text())
