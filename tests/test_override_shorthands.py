"""Shorthands of a command line, and relative paths."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import mnist_seq
from mnist_seq import run_lock
from mnist_seq.compose_config import compose
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.find_runs import latest_finished, resolve_resume, resolve_run
from mnist_seq.override_shorthands import OPTIONAL_GROUPS, expand_shorthands, make_paths_absolute
from mnist_seq.run_dir import Run
from tests.conftest import TINY


@pytest.mark.parametrize("group", OPTIONAL_GROUPS)
def test_null_means_no_choice_from_an_optional_group(group: str) -> None:
    composed = compose("train", [f"{group}=null"])[0]
    assert OmegaConf.to_container(composed) == OmegaConf.to_container(compose("train", [])[0])


def test_null_is_a_value_of_a_sweep() -> None:
    assert expand_shorthands("train", ["callbacks=null,ema", "seed=1"]) == ["callbacks=[],ema", "seed=1"]


def test_null_is_refused_for_a_required_group() -> None:
    with pytest.raises(UserError, match="model=null is not possible: choose from classifier"):
        mnist_seq.compose("model=null")


@pytest.mark.parametrize("name", ["2024_01", "007", "1e5", "3.10", "-1"])
def test_path_that_looks_like_a_number_stays_as_it_was_typed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = mnist_seq.compose(f"data.from={name}", f"init_from={name}")
    assert (config.data.path, config.init_from) == (str(tmp_path / name),) * 2
    assert compose("evaluate", [f"run={name}"])[0].run == name
    assert compose("compare", [f"runs=[{name},outputs/b]"])[0].runs == [name, "outputs/b"]
    assert expand_shorthands("train", [f"hydra.run.dir={name}"]) == [f'hydra.run.dir="{name}"']


@pytest.fixture
def outputs(tmp_path: Path, tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with runs that ended, one that did not, and an export, one after the other."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("exported/e", "stopped", "broken/again", "newer", "older"), 1):
        run = Run(shutil.copytree(tiny_run.path, tmp_path / "outputs" / name))
        for path in run.path.rglob("*"):
            os.utime(path, (1e9 - 100 * age,) * 2)
        if name == "exported/e":
            run._config.unlink()
            shutil.rmtree(run.checkpoints)
        if name == "stopped":
            run.weights.unlink()
        if name == "broken/again":  # it had ended, and was resumed with more steps
            os.utime(run.last_checkpoint, (1e9 - 50,) * 2)
    return tmp_path / "outputs"


def test_latest_is_the_run_that_finished_last_and_no_export(outputs: Path) -> None:
    assert latest_finished() == Path("outputs/broken/again")
    assert resolve_run("latest") == resolve_run(None) == "outputs/broken/again"
    assert resolve_run("outputs/older") == "outputs/older"


def test_resume_latest_is_the_unfinished_run_that_stopped_last(outputs: Path) -> None:
    assert mnist_seq.compose("resume=latest").resume == "outputs/broken/again"
    shutil.rmtree(outputs / "broken")
    composed = compose("train", ["resume=latest"])
    assert composed.config.resume == str(composed.run_dir) == "outputs/stopped"
    shutil.rmtree(outputs / "stopped")
    with pytest.raises(NotFoundError, match="resume=latest: no run under .* stopped before its end"):
        mnist_seq.compose("resume=latest")


def test_a_path_called_latest_is_ambiguous(outputs: Path) -> None:
    (outputs.parent / "latest").mkdir()
    with pytest.raises(UserError, match=r"write resume=\./latest"):
        mnist_seq.compose("resume=latest")
    with pytest.raises(UserError, match=r"write run=\./latest"):
        resolve_run("latest")


def test_a_run_resumes_from_its_last_checkpoint_only(tiny_run: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(tiny_run.path, tmp_path / "a [run]"))
    assert resolve_resume(str(run.path)) == run.path
    resumed = mnist_seq.fit(f'resume="{run.last_checkpoint}"', "trainer.max_steps=13")
    assert resumed.path == run.path
    assert resumed.metrics["steps"] == 13
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a [run]"]
    with pytest.raises(
        UserError, match="resumes from its last.ckpt, .*to start another run from these weights, .*init_from"
    ):
        resolve_resume(str(run.best_checkpoint))


def test_relative_paths_start_at_the_working_directory_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["data.from=set", "init_from=before/weights.safetensors", "resume=run"]
    composed = compose("train", asked).config
    monkeypatch.chdir("/")  # as hydra.job.chdir=true does
    make_paths_absolute(composed, tmp_path)
    assert composed.data.path == str(tmp_path / "set")
    assert composed.init_from == str(tmp_path / "before/weights.safetensors")
    assert composed.resume == str(tmp_path / "run")
    included = compose("train", ["init_from=pretrained:grid"]).config
    assert included.init_from == "pretrained:grid"


def test_init_from_is_saved_as_an_absolute_path(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_run.path.parent)
    begin = ("data=grid", *TINY, "trainer.max_steps=2", f"init_from={tiny_run.path.name}")
    run = mnist_seq.fit(*begin, f"hydra.run.dir={tmp_path}/run")
    assert run.config.init_from == str(tiny_run.path)


def test_test_true_evaluates_on_the_test_split(tmp_path: Path) -> None:
    run = mnist_seq.fit("data=grid", *TINY, "trainer.max_steps=2", "test=true", f"hydra.run.dir={tmp_path}/run")
    assert run.metrics["test"]["scenes"] == 10_000
    assert (run.path / "evaluations/test/evaluation.json").is_file()
    assert run.config_without_seed.test is False, "it is no part of the recipe"


def test_a_missing_test_split_is_refused_before_training(tmp_path: Path) -> None:
    from mnist_seq.data import datasets, export_dataset

    scenes = datasets.load(mnist_seq.compose("data=single", "data.digits=uci").data).splits["train"]
    about = {"family": "single", "protocol": "Digits.", "split": "train", "scenes": 40, "data": {"family": "single"}}
    for _ in export_dataset.write_dataset(scenes, 40, about, tmp_path / "set"):
        pass
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    with pytest.raises(UserError, match="test=true: these data have no test split"):
        mnist_seq.fit(f"data.from={tmp_path}/set", *tiny, "test=true", f"hydra.run.dir={tmp_path}/run")
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_test_metrics_are_removed_when_the_weights_change(tmp_path: Path, tiny_run: Run) -> None:
    run = Run(shutil.copytree(tiny_run.path, tmp_path / "run"))
    run.update_metrics(test={"scenes": 10_000})
    assert "test" in mnist_seq.fit(f"resume={run.path}").metrics, "no step was left"
    assert "test" not in mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=13").metrics


def test_a_resumed_job_of_a_sweep_loses_its_failure_file(tmp_path: Path, tiny_run: Run) -> None:
    run = Run(shutil.copytree(tiny_run.path, tmp_path / "job"))
    (run.path / "failed.txt").write_text("in use by another process\n")
    with run_lock.lock_run_dir(run.path, "hydra.run.dir"):
        mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=13")
    assert not (run.path / "failed.txt").exists()
