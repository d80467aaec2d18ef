"""An old key that a user still types ends in one line that names the new key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.compose_config import compose
from mnist_seq.config.config_store import COMMANDS
from mnist_seq.config.model import MODEL_CONFIGS
from mnist_seq.config.renamed_keys import (
    BUILT_IN_MODELS,
    REMOVED_KEYS,
    RENAMED_KEYS,
    RENAMED_SUITES,
    RENAMED_TARGETS,
    check_overrides,
)
from mnist_seq.config.user_presets import check_presets
from mnist_seq.errors import UserError
from mnist_seq.override_shorthands import expand_shorthands
from tests.config.schema_keys import keys_of
from tests.e2e.forked_command import run

OVERRIDES = {
    "train model.heads=2": "model.heads is now model.num_heads: write model.num_heads=2",
    "train +data.fixed=3": "data.fixed is now data.num_train_scenes: write data.num_train_scenes=3",
    "train ++model.dim_k=8": "model.dim_k is now model.head_dim: write ++model.head_dim=8",
    "train data.augment.clean=0.25": "data.augment.clean is now data.augment.p: write data.augment.p=0.75, "
    "which is 1 - clean",
    "train data.augment.clean=x": "data.augment.clean is now data.augment.p: write data.augment.p=P, "
    "which is 1 - clean",
    "train data=mixed data.parts.scatter.tries=3": "data.parts.scatter.tries is now data.parts.scatter.max_attempts: "
    "write data.parts.scatter.max_attempts=3",
    "train -m model.position=learned,rotary": "model.position is now model.pos_embed: "
    "write model.pos_embed=learned,rotary",
    "train -m hydra/launcher=devices hydra.launcher.slots=2": "hydra.launcher.slots is now hydra.launcher.n_jobs: "
    "write hydra.launcher.n_jobs=2",
    "train +callbacks.x._target_=mnist_seq.learn.callbacks.GradientHistograms": "callbacks.x._target_="
    "mnist_seq.learn.callbacks.GradientHistograms is now callbacks.x._target_="
    "mnist_seq.training.callbacks.GradientHistograms",
    "describe model.patch=7": "model.patch is now model.patch_size: write model.patch_size=7",
    "evaluate to=x": "to is now output_dir: write output_dir=x",
    "evaluate disturb.blur=1": "disturb.blur is now corruptions.blur: write corruptions.blur=1",
    "evaluate constrain=false": "constrain was removed (PAD and BOS are never predicted): leave it out",
    "export run=x to=onnx": "to is now format: write format=onnx",
    "serve model=pretrained:grid": "model is now run: write run=pretrained:grid",
    "serve limits.queue=3": "limits.queue is now limits.queue_size: write limits.queue_size=3",
    "search trials=3": "trials is now n_trials: write n_trials=3",
    "search +space.model.heads=[1,2]": "space.model.heads is now space.model.num_heads: "
    "write space.model.num_heads=[1,2]",
    "bench suite=[scenes,loop]": "suite=scenes is now suite=rendering",
}
MINE = "_target_: mine.Reader\nheads: 2\n"
PRESETS = {
    "model/old.yaml": ("defaults: [schema/enc_dec, _self_]\nheads: 2\n", "model.heads is now model.num_heads"),
    "data/augment/old.yaml": (
        "defaults: [schema/augment@_here_, _self_]\nclean: 0.5\n",
        "data.augment.clean is now data.augment.p, which is 1 - clean",
    ),
    "experiment/old.yaml": (
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      model.heads: 2,4\n",
        "hydra.sweeper.params.model.heads is now model.num_heads",
    ),
    "ablation/old.yaml": ("# @package model\npatch: 7\n", "model.patch is now model.patch_size"),
    "callbacks/old.yaml": (
        "histograms:\n  _target_: mnist_seq.learn.callbacks.GradientHistograms\n",
        "_target_: mnist_seq.learn.callbacks.GradientHistograms is now mnist_seq.training.callbacks.GradientHistograms",
    ),
    "search/old.yaml": (
        "# @package _global_\nspace:\n  +data.fixed: [3, 4]\n",
        "space.+data.fixed is now space.data.num_train_scenes",
    ),
    "search/overrides.yaml": (
        "# @package _global_\noverrides: [seed=0, model.heads=2]\n",
        "model.heads is now model.num_heads: write model.num_heads=2",
    ),
}


def write_preset(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("command_line", OVERRIDES)
def test_an_old_key_in_an_override_names_the_new_one(command_line: str) -> None:
    command, *overrides = command_line.split()
    if command == "bench":
        from mnist_seq.config import BenchConfig

        with pytest.raises(UserError) as refused:
            BenchConfig(suite=["scenes", "loop"])
    else:
        with pytest.raises(UserError) as refused:
            expand_shorthands(command, overrides)
    assert str(refused.value) == OVERRIDES[command_line]


@pytest.mark.parametrize("option", ["--config-dir", "--config-dir=", "hydra.searchpath"])
@pytest.mark.parametrize("name", PRESETS)
def test_an_old_key_in_a_preset_names_the_file_and_the_new_key(name: str, option: str, tmp_path: Path) -> None:
    text, message = PRESETS[name]
    path = write_preset(tmp_path, name, text)
    arguments = {
        "--config-dir": ["--config-dir", str(tmp_path)],
        "--config-dir=": [f"--config-dir={tmp_path}"],
        "hydra.searchpath": [f"hydra.searchpath=[file://{tmp_path}]"],
    }[option]
    with pytest.raises(UserError) as refused:
        check_presets("search" if name.startswith("search") else "train", arguments)
    assert str(refused.value) == f"{path}: {message}"


def test_keys_of_a_custom_model_pass(tmp_path: Path) -> None:
    expand_shorthands("train", ["model=custom", "model._target_=mine.Reader", "+model.heads=2"])
    write_preset(tmp_path, "model/mine.yaml", MINE)
    write_preset(
        tmp_path, "experiment/mine.yaml", f"# @package _global_\nmodel:\n  {MINE.replace(chr(10), chr(10) + '  ')}"
    )
    arguments = ["--config-dir", str(tmp_path), "model=mine", "model.heads=4"]
    check_presets("train", arguments)
    assert expand_shorthands("train", arguments) == arguments
    with pytest.raises(UserError, match="data.fixed is now"):
        expand_shorthands("train", [*arguments, "data.fixed=3"])


def test_presets_that_the_command_cannot_choose_are_not_checked(tmp_path: Path) -> None:
    for name in ("search/old.yaml", "outputs/run/config.yaml", "evaluate.yaml", "docker-compose.yaml"):
        write_preset(tmp_path, name, "to: x\nmodel:\n  heads: 2\n")
    check_presets("train", ["--config-dir", str(tmp_path)])
    write_preset(tmp_path, "model/broken.yaml", "heads: [")
    check_presets("train", ["--config-dir", str(tmp_path)])
    check_presets("train", ["--config-dir", str(tmp_path / "missing")])


def test_no_old_key_is_a_key_of_this_version_and_every_new_key_is_one() -> None:
    for command, renamed in RENAMED_KEYS.items():
        known = {key for key, _, _ in keys_of(command)}
        for old, new in renamed.items():
            if not old.startswith("hydra."):
                assert new in known or any(key.startswith(f"{new}.") for key in known), f"{command} {new}"
                assert old not in known or (command, old) == ("serve", "model"), f"{command} {old}"


def test_tables_name_commands_suites_and_classes_that_exist() -> None:
    from importlib import import_module

    from mnist_seq.config.bench import SUITES

    assert {*RENAMED_KEYS, *REMOVED_KEYS} <= {*COMMANDS}
    assert {*BUILT_IN_MODELS} == MODEL_CONFIGS.keys() - {"custom"}
    assert {*RENAMED_SUITES.values()} <= {*SUITES}
    assert not {*RENAMED_SUITES} & {*SUITES}
    for target in RENAMED_TARGETS.values():
        module, _, name = target.rpartition(".")
        assert hasattr(import_module(module), name)


def test_a_key_that_was_not_renamed_passes() -> None:
    check_overrides("train", ["model.num_heads=2", "seed=1", "~callbacks", "data=grid", "--multirun", "to=x"])
    assert compose("train", ["model.num_heads=2"]).config.model.num_heads == 2


@pytest.mark.slow
@pytest.mark.parametrize("command_line", OVERRIDES)
def test_a_command_with_an_old_key_ends_in_one_line(command_line: str, tmp_path: Path) -> None:
    command, *overrides = command_line.split()
    out, err = run(tmp_path, f"mnist_seq.{command}", *overrides, code=1)
    assert (out, err) == ("", f"mnist_seq: {OVERRIDES[command_line]}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_command_with_an_old_preset_ends_in_one_line(name: str, tmp_path: Path) -> None:
    text, message = PRESETS[name]
    write_preset(tmp_path, f"presets/{name}", text)
    group, _, stem = name.removesuffix(".yaml").rpartition("/")
    command = "search" if group == "search" else "train"
    for arguments in (["--config-dir", "presets"], ["hydra.searchpath=[file://presets]"]):
        out, err = run(tmp_path, f"mnist_seq.{command}", *arguments, f"{group}={stem}", code=1)
        assert (out, err) == ("", f"mnist_seq: presets/{name}: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["presets"]
