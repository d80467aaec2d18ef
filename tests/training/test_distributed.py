"""Ranks of processes: a run of one process is rank 0, whatever the environment says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.utilities import rank_zero_only

import mnist_seq
from mnist_seq.config import TrainerConfig
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from mnist_seq.training import distributed
from tests.conftest import TINY
from tests.e2e.background_command import start

SRUN = {"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "x"}
"""The environment of the second of `srun -n 4`."""
ENVIRONMENTS = {name: {name: "1"} for name in ("SLURM_PROCID", "LOCAL_RANK", "RANK", "JSM_NAMESPACE_RANK", "NODE_RANK")}
ENVIRONMENTS |= {"srun": SRUN, "interactive srun": SRUN | {"SLURM_JOB_NAME": "bash"}}
RUN = ("model=tiny", "data=single", *TINY, "trainer.max_steps=4", "trainer.val_check_interval=2")
ONE, TWO, NODES = TrainerConfig(), TrainerConfig(devices=2), TrainerConfig(devices=2, num_nodes=2)
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set variables as if Lightning had been imported with them."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_single_process_run_writes_and_prints_whatever_rank_the_environment_names(
    environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(monkeypatch, ENVIRONMENTS[environment])
    run = mnist_seq.fit(*RUN, f"hydra.run.dir={tmp_path / 'run'}")
    assert run.finished
    assert {"train/loss", "val/exact_match"} <= {name for row in run.logged_metrics for name in row}
    assert run.last_checkpoint.is_file()
    assert "run directory:" in capsys.readouterr().out
    rank_zero: Any = rank_zero_only
    assert rank_zero.rank == 1, "the rank of the caller is restored"


def test_single_process_run_is_bit_identical_whatever_rank_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = mnist_seq.fit(*RUN, "model.dropout=0.3", f"hydra.run.dir={tmp_path / 'plain'}")
    set_environment(monkeypatch, SRUN)
    ranked = mnist_seq.fit(*RUN, "model.dropout=0.3", f"hydra.run.dir={tmp_path / 'ranked'}")
    assert ranked.weights.read_bytes() == plain.weights.read_bytes()


@pytest.mark.parametrize(
    ("config", "variables", "rank"),
    [
        (TWO, {}, 0),
        (TWO, {"LOCAL_RANK": "1"}, 1),
        (TWO, {"RANK": "1"}, 0),
        (NODES, {"NODE_RANK": "1"}, 2),
        (NODES, {"NODE_RANK": "1", "LOCAL_RANK": "1"}, 3),
        (NODES, TORCHRUN, 3),
        (NODES, SRUN | {"SLURM_NTASKS_PER_NODE": "2"}, 1),
        (TWO, SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, 0),
        (TWO, SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "LOCAL_RANK": "1"}, 1),
    ],
)
def test_processes_of_one_run_have_the_ranks_of_their_launcher(
    config: TrainerConfig, variables: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, variables)
    assert distributed.process_rank(config) == rank


@pytest.mark.parametrize(
    ("config", "variables", "message"),
    [
        (ONE, TORCHRUN, "torchrun started 4 processes, but trainer.devices=1 trainer.num_nodes=1 is a run of 1"),
        (TWO, TORCHRUN, "torchrun started 4 processes, but trainer.devices=2"),
        (TWO, SRUN | {"SLURM_NTASKS_PER_NODE": "4"}, "srun started 4 processes, but trainer.devices=2"),
        (TWO, SRUN, "--ntasks-per-node=4"),
        (NODES, SRUN | {"SLURM_NTASKS": "1"}, "srun started 1 processes"),
    ],
)
def test_wrong_number_of_processes_is_refused(
    config: TrainerConfig, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, variables)
    with pytest.raises(UserError, match=message):
        distributed.process_rank(config)


@pytest.mark.slow
def test_slurm_tasks_with_different_seeds_train_separate_runs(tmp_path: Path) -> None:
    tasks = []
    for task in range(2):
        variables = SRUN | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}
        tasks.append(start(tmp_path, "mnist_seq.train", *RUN, f"seed={task}", f"hydra.run.dir=run{task}", **variables))
    for task, each in enumerate(tasks):
        out, err = each.communicate(timeout=400)
        assert each.returncode == 0, out + err
        assert "run directory:" in out
        assert Run(tmp_path / f"run{task}").metrics["seed"] == task


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "strategy"), [("SLURM_PROCID", "auto"), ("RANK", "auto"), ("LOCAL_RANK", "ddp")])
def test_rank_in_the_environment_of_a_command_changes_nothing(variable: str, strategy: str, tmp_path: Path) -> None:
    overrides = (*RUN, f"trainer.strategy={strategy}", "hydra.run.dir=run")
    command = start(tmp_path, "mnist_seq.train", *overrides, **{variable: "1"})
    out, err = command.communicate(timeout=400)
    assert command.returncode == 0, out + err
    assert Run(tmp_path / "run").finished


def test_unused_slurm_causes_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mnist_seq.fit(*TINY, "trainer.max_steps=1", "report=false", f"hydra.run.dir={tmp_path / 'run'}")
