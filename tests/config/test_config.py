import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import mnist_seq
from mnist_seq import config
from mnist_seq.compose_config import job_name
from mnist_seq.config import TrainConfig, config_store
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.config.serialization import data_from_dict, from_dict, to_dict
from mnist_seq.config.training import NOT_LIGHTNING
from mnist_seq.errors import UserError

MODELS = sorted(config.MODEL_CONFIGS)
DATA = config_store.preset_names("data")


def choice(group: str, name: str) -> list[str]:
    """The overrides that choose a preset."""
    needed = {
        ("data", "folder"): ["data.path=somewhere"],
        ("experiment", "finetune"): ["data.path=somewhere"],
        ("model", "custom"): ["model._target_=mine.Reader"],
    }
    return [f"{group}={name}", *needed.get((group, name), [])]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("data", DATA)
def test_from_dict_inverts_to_dict(model: str, data: str) -> None:
    composed = mnist_seq.compose(
        *choice("model", model), *choice("data", data), "trainer=cpu", "+trainer.fast_dev_run=true"
    )
    saved = json.loads(json.dumps(to_dict(composed)))
    again = from_dict(TrainConfig, saved)
    assert to_dict(again) == to_dict(composed)
    assert type(again.model) is type(composed.model)
    assert type(again.data) is type(composed.data)
    assert again.trainer.lightning_kwargs()["fast_dev_run"] is True


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIG_DIR)))
def test_every_preset_composes_and_starts_with_a_comment(path: Path) -> None:
    assert path.read_text().startswith("# "), "a preset begins with a comment"
    group, name = str(path.parent.relative_to(CONFIG_DIR)), path.stem
    if group not in (".", "search"):  # tests/sweeps has the searches
        mnist_seq.compose(*choice(group, name))


def test_an_experiment_that_is_a_sweep_is_refused_as_a_single_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a sweep over optim.lr, seed: run it with -m"):
        mnist_seq.fit("experiment=lr_range", f"hydra.run.dir={tmp_path / 'run'}")
    with pytest.raises(UserError, match=r"is a sweep over optim.lr: run it with -m"):
        mnist_seq.fit("experiment=lr_range", "seed=0", f"hydra.run.dir={tmp_path / 'run'}")
    assert not list(tmp_path.iterdir())


def test_every_family_has_a_preset() -> None:
    families = {mnist_seq.compose(*choice("data", name)).data.family for name in DATA}
    assert families == config.FAMILY_CONFIGS.keys()


def test_data_from_is_short_for_a_folder() -> None:
    short, long = (mnist_seq.compose(*given).data for given in (["data.from=some/where"], choice("data", "folder")))
    assert isinstance(short, config.FolderConfig)
    assert (Path(short.path), Path(long.path)) == (Path("some/where").absolute(), Path("somewhere").absolute())
    with pytest.raises(ValueError, match="data.from=DIR means data=folder: leave out data=grid"):
        mnist_seq.compose("data=grid", "data.from=some/where")


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("trainer/*.yaml")), ids=lambda path: path.stem)
def test_a_trainer_preset_has_the_name_of_its_file_and_sets_what_auto_leaves_open(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    if path.stem != "auto":
        assert values["preset"] == path.stem
        assert {"accelerator", "devices", "precision", "max_steps"} <= values.keys()


@pytest.mark.parametrize(
    ("override", "key", "way_out"),
    [
        ("model.num_heads=3", "model.num_heads=3", "model.num_heads=2"),
        ("model.dim=0", "model.dim=0", "at least 1"),
        ("model.dropout=1", "model.dropout=1", "below 1"),
        ("data.batch_size=0", "data.batch_size=0", "at least 1"),
        ("data.rows=0", "data.rows=0", "at least 1"),
        ("data.augment.scale=2", "data.augment.scale=2", "0..0.9"),
        ("optim.lr=0", "optim.lr=0", "above 0"),
        ("optim.schedule=step", "optim.schedule=step", "linear, cosine, constant"),
        ("loss.label_smoothing=1", "loss.label_smoothing=1", "below 1"),
        ("trainer.max_steps=0", "trainer.max_steps=0", "at least 1"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1", "0 for none"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu", "cpu, gpu, cuda, mps"),
        ("optim.betas=[0.9]", "optim.betas=[0.9]", "optim.betas=[0.9,0.98]"),
        ("optim.lr=inf", "optim.lr=inf", "finite"),
        ("seed=-1", "seed=-1", "0..2147483647"),
        ("model.name=classifier", "model.name=classifier", "model=classifier"),
    ],
)
def test_an_invalid_value_is_refused_with_key_value_and_way_out(override: str, key: str, way_out: str) -> None:
    with pytest.raises(ValueError, match="^(model|data|optim|loss|trainer|seed)") as refused:
        mnist_seq.compose(override)
    assert key in str(refused.value)
    assert way_out in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_that_may_be_null_is_refused_with_that_way_out() -> None:
    assert config.TrainerConfig(max_steps=None).max_steps is None
    with pytest.raises(UserError, match=r"^trainer.max_steps=0 must be at least 1, or null$"):
        config.TrainerConfig(max_steps=0)
    with pytest.raises(UserError, match=r"^n_jobs=0 must be at least 1, or null$"):
        config.SearchConfig(space={"seed": [0, 1]}, n_jobs=0)


def test_an_infinite_timeout_is_refused() -> None:
    with pytest.raises(UserError, match=r"^limits.timeout=inf must be above 0, and finite$"):
        config.RequestLimits(timeout=float("inf"))


def test_a_value_of_the_wrong_type_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="model.dim=wide.*could not be converted to Integer"):
        mnist_seq.compose("model.dim=wide")


def test_an_unknown_key_of_a_saved_config_is_named() -> None:
    with pytest.raises(ValueError, match="'learning_rate'"):
        from_dict(config.OptimConfig, {"learning_rate": 1.0})
    with pytest.raises(ValueError, match="data.family=film"):
        data_from_dict({"family": "film"})


def test_lightning_knows_every_trainer_argument() -> None:
    import inspect

    import lightning

    known = inspect.signature(lightning.Trainer.__init__).parameters
    assert {field.name for field in fields(config.TrainerConfig)} - set(NOT_LIGHTNING) <= known.keys()
    assert not set(NOT_LIGHTNING) & known.keys()


def test_different_jobs_have_different_directories() -> None:
    asked = [
        ["model.dim=64", "seed=0"],
        ["model.dim=64", "seed=1"],
        ["model.num_heads=64", "seed=0"],
        ["a=b/c"],
        ["a=b-c"],
    ]
    asked += [[f"+trainer.{'x' * 200}=1", f"seed={seed}"] for seed in (0, 1)]
    names = [job_name(overrides) for overrides in asked]
    assert len(set(names)) == len(names)
    assert names[0].startswith("dim-64_seed-0_")
    assert job_name(["seed=0", "model.dim=64"]).split("_")[-1] == names[0].split("_")[-1]
    for name in names:
        assert len(name) <= 180
        assert not set(name) & set("=,/ {}[]'\"")
