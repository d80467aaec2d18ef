"""The summary of a sweep: its table, sweep.csv, failed jobs, and stopping at a failure."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console

from mnist_seq.errors import UserError
from mnist_seq.reporting import tables
from mnist_seq.run_dir import FAILURE_FILE, Run
from mnist_seq.sweeps import summary
from mnist_seq.sweeps.summary import SweepSummary, finish_sweep, write_csv
from mnist_seq.sweeps.sweep_runs import aggregate_over_seeds, find_runs, load_runs
from tests.sweeps.conftest import fall_back_on_uci, write_run


def table_text(sweep: Path) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(tables.sweep_table(aggregate_over_seeds(load_runs(find_runs(sweep))), "norms"))
    return console.export_text()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def end_job(job: Path, on_failure: str = "continue", launcher: str = "BasicLauncher") -> None:
    sweep = job.parent
    hydra = {"mode": RunMode.MULTIRUN, "sweep": {"dir": sweep.name}, "launcher": {"_target_": f"hydra.{launcher}"}}
    runtime = {"output_dir": str(job), "cwd": str(sweep.parent)}
    SweepSummary(on_failure).on_job_end(OmegaConf.create({"hydra": hydra | {"runtime": runtime}}), None)


def test_table_lists_the_best_first_with_its_standard_deviation(sweep: Path) -> None:
    text = table_text(sweep)
    assert text.index("pre") < text.index("post")
    assert "90.00% ± 10.00%" in text


def test_table_states_shared_values_once(sweep: Path) -> None:
    assert "9 parameters, 6 scenes each" in table_text(sweep)
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    (sweep / "0" / "metrics.json").write_text(json.dumps(metrics | {"parameters": 12}))
    assert "6 scenes each" in table_text(sweep)
    assert [line for line in table_text(sweep).splitlines() if "pre" in line and "10" in line]  # (12 + 9 + 9) / 3


def test_csv_has_a_row_for_every_run(sweep: Path) -> None:
    write_csv(load_runs(find_runs(sweep)), sweep / "sweep.csv")
    rows = read_csv(sweep / "sweep.csv")
    assert [row["model.norm"] for row in rows] == ["pre", "post", "pre", "post", "pre"]
    assert [float(row["exact_match"]) for row in rows] == [0.8, 0.6, 0.9, 0.7, 1.0]
    assert rows[4]["run"] == str(sweep / "4")


def test_csv_names_the_digit_source_and_notice_of_every_run(sweep: Path) -> None:
    write_csv(fall_back_on_uci(sweep), sweep / "sweep.csv")
    values = {(row["seed"], row["digits"], row["notice"]) for row in read_csv(sweep / "sweep.csv")}
    assert values == {("0", "mnist", ""), ("1", "uci", "NOT MNIST: uci"), ("2", "mnist", "")}


def test_jobs_update_the_csv_at_most_once_in_a_time_that_grows_with_the_runs(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each update reads all runs: one after each of n jobs would take a time that grows with the square of n."""
    end_job(sweep / "0")
    path = sweep / "sweep.csv"
    path.write_text("header\n" + "as before\n" * 40)
    age, updated = 0.1 * 40, path.stat().st_mtime
    monkeypatch.setattr(summary.time, "time", lambda: updated + 0.9 * age)
    end_job(sweep / "1")
    assert "as before" in path.read_text()
    monkeypatch.setattr(summary.time, "time", lambda: updated + 1.1 * age)
    end_job(sweep / "1")
    assert len(read_csv(path)) == 5
    path.write_text("header\n" + "from the future\n" * 40)
    monkeypatch.setattr(summary.time, "time", lambda: path.stat().st_mtime - 60)
    end_job(sweep / "1")
    assert len(read_csv(path)) == 5


def test_summary_prints_notices(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fall_back_on_uci(sweep)
    finish_sweep(sweep)
    assert "NOT MNIST: uci" in capsys.readouterr().out


def test_a_sweep_in_several_precisions_says_so_unless_they_were_swept(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, precision in enumerate(["32-true", "bf16-mixed", "bf16-mixed", "bf16-mixed", "bf16-mixed"]):
        Run(sweep / str(number)).update_metrics(precision=precision)
    finish_sweep(sweep)
    assert "Trained in different precisions (32-true, bf16-mixed)" in capsys.readouterr().out
    for number in range(5):
        run = Run(sweep / str(number))
        run.update_metrics(overrides=[*run.metrics["overrides"], f"trainer.precision={run.metrics['precision']}"])
    finish_sweep(sweep)
    assert "different precisions" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [UserError("the disk is full"), KeyError("digit_accuracy")])
def test_failed_jobs_are_listed_even_without_a_summary(
    error: Exception, sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(summary, "_print_summary", fail)
    with pytest.raises(SystemExit):
        finish_sweep(sweep)
    (sweep / "3" / FAILURE_FILE).write_text("it did not fit\n")
    with pytest.raises(SystemExit):
        finish_sweep(sweep)
    printed = capsys.readouterr()
    assert "failed: 3: it did not fit" in printed.out
    assert str(error) in printed.err


def test_runs_without_validation_are_counted(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(sweep / "full", 0.5, ["data.pool=full"], 0)
    metrics = json.loads((sweep / "full" / "metrics.json").read_text())
    del metrics["val"]
    (sweep / "full" / "metrics.json").write_text(json.dumps(metrics))
    finish_sweep(sweep)  # which also holds a run that has only begun
    assert "2 more runs are not listed" in capsys.readouterr().out


def test_on_failure_is_checked_against_what_the_launcher_supports(capsys: pytest.CaptureFixture[str]) -> None:
    def start(on_failure: str, launcher: str) -> None:
        hydra = {"launcher": {"_target_": launcher}, "sweeper": {"_target_": "theirs.Sweeper"}}
        SweepSummary(on_failure).on_multirun_start(OmegaConf.create({"hydra": hydra}))

    start("continue", "hydra_plugins.submitit.SlurmLauncher")
    start("stop", "hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    start("stop", "hydra_plugins.devices_launcher.DevicesLauncher")
    for on_failure, launcher in (("stop", "hydra_plugins.submitit.SlurmLauncher"), ("pause", "x.BasicLauncher")):
        with pytest.raises(SystemExit):
            start(on_failure, launcher)
        assert f"hydra.callbacks.table.on_failure={on_failure}" in capsys.readouterr().err


def test_on_failure_stop_ends_a_sequential_sweep_at_its_first_failed_job(
    sweep: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    """From whichever folder: hydra.job.chdir enters that of the job."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    (sweep / "3" / FAILURE_FILE).write_text("it did not fit\n")
    end_job(sweep / "0", "stop")
    end_job(sweep / "3", "continue")
    end_job(sweep / "3", "stop", "DevicesLauncher")  # stops by itself
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        end_job(sweep / "3", "stop")
    out = capsys.readouterr().out
    assert "stopped at the first failed job" in out
    assert "failed: 3: it did not fit" in out
