"""What a sweep is summed up to."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console

import mnist_seq
from mnist_seq.reporting import comparison, curves, tables
from mnist_seq.run_dir import FAILURE_FILE, Run
from mnist_seq.sweeps import summary as sweeps
from mnist_seq.sweeps.sweep_runs import VAL_METRICS


def finished(directory: Path, exact: float, overrides: list[str], seed: int) -> None:
    """A run as training leaves it, as far as sweeps look."""
    val = dict.fromkeys(VAL_METRICS, 0.5) | {"exact_match": exact}
    metrics: dict[str, Any] = {
        "val": val,
        "seed": seed,
        "overrides": overrides,
        "parameters": 9,
        "steps": 3,
        "scenes": 6,
    }
    directory.mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps(metrics | {"scenes_per_second": 7.0, "seconds": 1.0}))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for job, (norm, seed, exact) in enumerate(
        [("pre", 0, 0.8), ("post", 0, 0.6), ("pre", 1, 0.9), ("post", 1, 0.7), ("pre", 2, 1.0)]
    ):
        overrides = ["data=grid", f"model.norm={norm}", "+trainer.profiler=simple", f"seed={seed}"]
        finished(tmp_path / str(job), exact, overrides, seed)
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "metrics.json").write_text('{"id": "begun"}')
    return tmp_path


def test_runs_are_grouped_by_what_sets_them_apart(sweep: Path) -> None:
    found = sweeps.load_runs(sweeps.find_runs(sweep))
    assert [(member.overrides, member.seed) for member in found][:2] == [
        ({"model.norm": "pre"}, 0),
        ({"model.norm": "post"}, 0),
    ]
    groups = sweeps.aggregate_over_seeds(found)
    assert groups["norm=pre"]["exact_match"] == pytest.approx((0.9, 0.1, 3))
    assert groups["norm=post"]["exact_match"] == pytest.approx((0.65, 0.0707107, 2))


def test_the_table_shows_the_best_first_with_its_spread(sweep: Path) -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(tables.sweep_table(sweeps.aggregate_over_seeds(sweeps.load_runs(sweeps.find_runs(sweep))), "norms"))
    text = console.export_text()
    assert text.index("pre") < text.index("post")
    assert "90.00% ± 10.00%" in text


def test_what_all_runs_have_in_common_is_told_once(sweep: Path) -> None:
    def told() -> str:
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(
            tables.sweep_table(sweeps.aggregate_over_seeds(sweeps.load_runs(sweeps.find_runs(sweep))), "norms")
        )
        return console.export_text()

    assert "9 parameters, 6 scenes each" in told()
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    (sweep / "0" / "metrics.json").write_text(json.dumps(metrics | {"parameters": 12}))
    assert "6 scenes each" in told()
    assert [line for line in told().splitlines() if "pre" in line and "10" in line]  # (12 + 9 + 9) / 3


def test_a_run_that_lacks_a_figure_still_counts(sweep: Path) -> None:
    """Records of older versions."""
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    del metrics["scenes"]
    (sweep / "0" / "metrics.json").write_text(json.dumps(metrics))
    found = sweeps.load_runs(sweeps.find_runs(sweep))
    assert len(found) == 5
    assert math.isnan(found[0].metrics["scenes"])
    assert sweeps.aggregate_over_seeds(found)["norm=pre"]["exact_match"] == pytest.approx((0.9, 0.1, 3))
    assert sweeps.aggregate_over_seeds(found)["norm=pre"]["scenes"] == (6, 0, 3)


def test_every_run_has_its_line(sweep: Path) -> None:
    sweeps.write_csv(sweeps.load_runs(sweeps.find_runs(sweep)), sweep / "sweep.csv")
    with (sweep / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["model.norm"] for line in lines] == ["pre", "post", "pre", "post", "pre"]
    assert [float(line["exact_match"]) for line in lines] == [0.8, 0.6, 0.9, 0.7, 1.0]
    assert lines[4]["run"] == str(sweep / "4")


def test_keys_are_told_in_full_where_their_last_parts_are_the_same(sweep: Path) -> None:
    for path in sweep.glob("*"):
        if "overrides" in Run(path).metrics:
            Run(path).update_metrics(overrides=[*Run(path).metrics["overrides"], f"callbacks.ema.norm={path.name}"])
    names = sweeps.aggregate_over_seeds(sweeps.load_runs(sweeps.find_runs(sweep)))
    assert all("model.norm=" in name and "callbacks.ema.norm=" in name for name in names)


def fallen_back(sweep: Path) -> list[sweeps.SweepRun]:
    """The seeds 1 found no MNIST, and took the digits that are always at hand."""
    for path in sweep.glob("*/metrics.json"):
        metrics = Run(path.parent).metrics
        lost = metrics.get("seed") == 1
        Run(path.parent).update_metrics(digits="uci" if lost else "mnist", notice="NOT MNIST: uci" if lost else "")
    return sweeps.load_runs(sweeps.find_runs(sweep))


def test_runs_on_other_digits_are_averaged_apart(sweep: Path) -> None:
    groups = sweeps.aggregate_over_seeds(fallen_back(sweep))
    assert {name: (figures["exact_match"][0], figures["exact_match"][2]) for name, figures in groups.items()} == {
        "norm=pre digits=mnist": (pytest.approx(0.9), 2),
        "norm=post digits=mnist": (pytest.approx(0.6), 1),
        "norm=pre digits=uci": (pytest.approx(0.9), 1),
        "norm=post digits=uci": (pytest.approx(0.7), 1),
    }


def test_every_line_of_the_table_says_whose_digits_and_what_must_be_told(sweep: Path) -> None:
    sweeps.write_csv(fallen_back(sweep), sweep / "sweep.csv")
    with (sweep / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    told = {(line["seed"], line["digits"], line["notice"]) for line in lines}
    assert told == {("0", "mnist", ""), ("1", "uci", "NOT MNIST: uci"), ("2", "mnist", "")}


def test_the_end_of_a_sweep_tells_of_other_digits(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fallen_back(sweep)
    sweeps.finish_sweep(sweep)
    assert "NOT MNIST: uci" in capsys.readouterr().out


def test_a_page_and_its_drawings_tell_other_digits_apart(sweep: Path) -> None:
    found = fallen_back(sweep)
    page = comparison.render_sweep(found, "norms")
    assert "NOT MNIST: uci" in page
    assert page.count("<svg") == 1, "of the norm; digits were not swept"
    choices = {"digits=mnist": [("pre", 0.9), ("post", 0.6)], "digits=uci": [("pre", 0.3), ("post", 0.1)]}
    figure = curves.hyperparameter_effect("model.norm", choices, "NOT MNIST: uci")
    means = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert means == [[0.6, 0.9], [0.1, 0.3]]
    assert figure.get_suptitle() == "NOT MNIST: uci"


def test_runs_of_one_choice_that_were_configured_otherwise_are_averaged_apart(sweep: Path) -> None:
    """As where a preset was edited between them."""
    for path in sweep.glob("*/metrics.json"):
        config = mnist_seq.compose("data=grid")
        config.seed = Run(path.parent).metrics.get("seed", 0)
        config.trainer.threads = config.seed + 1  # where and how it was computed is no choice
        config.optim.weight_decay = 0.5 if config.seed == 2 else 0.05
        Run(path.parent).write_config(config)
    assert set(sweeps.aggregate_over_seeds(sweeps.load_runs(sweeps.find_runs(sweep)))) == {
        "norm=pre weight_decay=0.05",
        "norm=post weight_decay=0.05",
        "norm=pre weight_decay=0.5",
    }


def test_runs_without_validation_are_counted(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(sweep / "full", 0.5, ["data.pool=full"], 0)
    metrics = json.loads((sweep / "full" / "metrics.json").read_text())
    del metrics["val"]
    (sweep / "full" / "metrics.json").write_text(json.dumps(metrics))
    sweeps.finish_sweep(sweep)
    assert "1 more runs have no validation" in capsys.readouterr().out


def test_a_launcher_that_cannot_stop_is_not_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    def begin(on_failure: str, launcher: str) -> None:
        hydra = {"launcher": {"_target_": launcher}, "sweeper": {"_target_": "theirs.Sweeper"}}
        sweeps.SweepSummary(on_failure).on_multirun_start(OmegaConf.create({"hydra": hydra}))

    begin("continue", "hydra_plugins.submitit.SlurmLauncher")
    begin("stop", "hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    begin("stop", "hydra_plugins.devices_launcher.DevicesLauncher")
    for asked, launcher in (("stop", "hydra_plugins.submitit.SlurmLauncher"), ("pause", "x.BasicLauncher")):
        with pytest.raises(SystemExit):
            begin(asked, launcher)
        assert f"hydra.callbacks.table.on_failure={asked}" in capsys.readouterr().err


def test_a_sweep_that_is_to_stop_ends_with_the_job_that_failed(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def end(on_failure: str, job: str, launcher: str = "BasicLauncher") -> None:
        hydra = {"mode": RunMode.MULTIRUN, "sweep": {"dir": str(sweep)}, "launcher": {"_target_": f"hydra.{launcher}"}}
        config = OmegaConf.create({"hydra": hydra | {"runtime": {"output_dir": str(sweep / job)}}})
        sweeps.SweepSummary(on_failure).on_job_end(config, None)

    (sweep / "3" / FAILURE_FILE).write_text("it did not fit\n")
    end("stop", "0")
    end("continue", "3")
    end("stop", "3", "DevicesLauncher")  # which stops by itself
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        end("stop", "3")
    out = capsys.readouterr().out
    assert "stopped at the first failure" in out
    assert "failed: 3: it did not fit" in out
