"""Whole commands in processes of their own, from training to export."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import ROOT, environment, start
from tests.e2e.forked_command import run

pytestmark = pytest.mark.slow
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
"""Proxies at a port where nothing listens."""


def test_exported_models_can_be_evaluated_and_exported_again(tmp_path: Path, tiny_run: Run) -> None:
    out, _ = run(tmp_path, "mnist_seq.export", f"run={tiny_run.path}", "name=tiny", "output_dir=given")
    assert "on 0 of 100 scenes" in out
    assert {it.name for it in (tmp_path / "given/tiny").iterdir()} == {"weights.safetensors", "model.json", "README.md"}
    out, _ = run(tmp_path, "mnist_seq.evaluate", "run=given/tiny", "scenes=50")
    assert "exact match" in out
    out, _ = run(tmp_path, "mnist_seq.export", "run=given/tiny", "format=onnx")
    assert "on 0 of 100 scenes" in out
    assert (tmp_path / "outputs/exported/tiny/tiny.onnx").stat().st_size > 1000


def test_results_are_written_and_never_published_for_stand_in_digits(tmp_path: Path) -> None:
    """On other digits than those of its training, a model's score does not compare with the published ones."""
    page = tmp_path / "page.md"
    page.write_text("<!-- results -->\n<!-- /results -->\n")
    asked = ["mnist_seq.results", "models=[single]", "scenes=300", "robustness_scenes=50", "output_dir=written"]
    none = {"MNIST_SEQ_DATA": str(tmp_path / "none"), **OFFLINE}
    _, err = run(tmp_path, *asked, "tables=page.md", code=1, **none)
    assert "single was trained on mnist but would be evaluated on uci: set MNIST_SEQ_DATA" in err
    assert page.read_text() == "<!-- results -->\n<!-- /results -->\n"
    run(tmp_path, *asked, **none)
    results = json.loads((tmp_path / "written/results.json").read_text())
    single = results["protocols"]["single"]
    assert single["scenes"] == 300
    assert single["exact_match"] > 0.95
    assert results["corrupted"]["single"].keys() >= {"clean", "noise, 20 %"}
    assert results["other_data"].keys() == {"single"}
    assert f"**{100 * single['exact_match']:.2f}**" in (tmp_path / "written/results.md").read_text()
    for name in ("single", "single_scenes"):
        assert bool(results["hard_examples"]["single"]) == (tmp_path / f"written/{name}.png").exists()
    assert bool(single["card"]["val_curve"]) == (tmp_path / "written/curves.png").exists()


def metrics_rows(path: Path) -> list[dict[str, str]]:
    with (path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != "train/scenes_per_second"} for row in rows]


def wait_for_metrics(run_dir: Path, num_lines: int, process: subprocess.Popen[str]) -> None:
    table = run_dir / "metrics.csv"
    while process.poll() is None and not (table.exists() and len(table.read_bytes().splitlines()) >= num_lines):
        time.sleep(0.01)
    assert process.poll() is None, "the command ended before it could be stopped"


LONGER = (*TINY, "trainer.max_steps=300", "trainer.val_check_interval=40", "model.dropout=0.1", "data.batch_size=200")


def test_killed_stopped_and_resumed_run_equals_uninterrupted_run(tmp_path: Path) -> None:
    """After kill -9 three times, SIGTERM and Ctrl-C, weights and metrics are bit-equal, timings aside."""
    run(tmp_path, "mnist_seq.train", *LONGER, "hydra.run.dir=whole")
    parts, command = tmp_path / "parts", (*LONGER, "hydra.run.dir=parts")
    for lines in (30, 47, 70):
        started = start(tmp_path, "mnist_seq.train", *command)
        wait_for_metrics(parts, lines, started)
        started.kill()
        started.communicate()
        command = ("resume=parts",)
    for signum, code, lines in ((signal.SIGTERM, 143, 95), (signal.SIGINT, 130, 120)):
        started = start(tmp_path, "mnist_seq.train", "resume=parts")
        wait_for_metrics(parts, lines, started)
        started.send_signal(signum)
        _, err = started.communicate(timeout=120)
        assert started.returncode == code, err
        assert "resume with: python -m mnist_seq.train resume=parts" in err
        assert "Traceback" not in err
    run(tmp_path, "mnist_seq.train", "resume=parts")
    whole = tmp_path / "whole"
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert metrics_rows(parts) == metrics_rows(whole)
    assert Run(parts).metrics["val"] == Run(whole).metrics["val"]


def test_jobs_of_a_sweep_equal_single_runs_and_a_rerun_trains_only_what_is_missing(tmp_path: Path) -> None:
    sweep = ["mnist_seq.train", "-m", "logger=wandb", *TINY, "seed=0,1", "hydra.sweep.dir=sweep"]
    run(tmp_path, *sweep, WANDB_MODE="offline")
    run(tmp_path, "mnist_seq.train", "seed=1", *TINY, "hydra.run.dir=alone")
    jobs = [next((tmp_path / "sweep").glob(f"*_seed-{seed}_*")) for seed in (0, 1)]
    first, second, alone = ((it / "weights.safetensors").read_bytes() for it in (*jobs, tmp_path / "alone"))
    assert second == alone != first
    assert len({next((job / "wandb").glob("offline-run-*")).name for job in jobs}) == 2
    table = (tmp_path / "sweep" / "sweep.csv").read_text()

    (jobs[1] / "weights.safetensors").unlink()
    out, _ = run(tmp_path, *sweep, WANDB_MODE="offline")
    assert f"{jobs[0].name} is finished: skipped" in out.replace("\n", "")
    assert (jobs[1] / "weights.safetensors").read_bytes() == second
    new_table = (tmp_path / "sweep" / "sweep.csv").read_text()
    assert [line.split(",")[:3] for line in new_table.splitlines()] == [
        line.split(",")[:3] for line in table.splitlines()
    ]


def test_a_failed_job_stops_no_other_and_the_sweep_exits_with_1(tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *TINY, "model.num_heads=5,2", "seed=0", "hydra.sweep.dir=sweep")
    out, err = run(tmp_path, *sweep, code=1)
    assert "Traceback" not in out + err
    failed, succeeded = (next((tmp_path / "sweep").glob(f"*heads-{heads}*")) for heads in (5, 2))
    assert f"{failed.name} failed: model.num_heads=5 does not divide model.dim=16" in err
    assert f"failed: {failed.name}: model.num_heads=5 does not divide" in out
    assert "Traceback" in (failed / "failed.txt").read_text()
    assert Run(succeeded).finished
    assert len((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()) == 2
    (failed / "failed.txt").rename(succeeded / "failed.txt")
    run(tmp_path, *(it.replace("5,2", "2") for it in sweep))
    assert not (succeeded / "failed.txt").exists(), "the record of an old failure is removed"


def test_a_sweep_over_experiments_that_are_sweeps_is_refused(tmp_path: Path) -> None:
    """Hydra would ignore their hydra.sweeper.params and train one default run of each."""
    sweep = ("mnist_seq.train", "-m", "experiment=lr_range,ablation", *TINY, "hydra.sweep.dir=sweep")
    out, _ = run(tmp_path, *sweep, code=1)
    assert "is a sweep over optim.lr, seed" in out.replace("\n", " ")
    assert not list((tmp_path / "sweep").rglob("metrics.json"))


def test_a_signal_ends_the_sweep_and_its_job_saves_a_checkpoint(tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *LONGER, "seed=0,1", "hydra.sweep.dir=sweep")
    started = start(tmp_path, *sweep)
    while started.poll() is None and not (jobs := list((tmp_path / "sweep").glob("*_seed-0_*"))):
        time.sleep(0.01)
    wait_for_metrics(jobs[0], 30, started)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 130
    assert "Traceback" not in err
    assert len(list((tmp_path / "sweep").iterdir())) == 2, "one job, and Hydra's multirun.yaml"
    assert Run(jobs[0]).last_checkpoint.exists()


def test_without_mnist_and_network_uci_digits_are_used_and_a_notice_is_shown(tmp_path: Path) -> None:
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    data = {"MNIST_SEQ_DATA": str(tmp_path / "none"), **OFFLINE}
    out, err = run(tmp_path, "mnist_seq.train", *tiny, "hydra.run.dir=run", **data)
    assert "could not be downloaded" in err
    assert "NOT MNIST" in out
    assert Run(tmp_path / "run").metrics["digits"] == "uci"
    _, err = run(tmp_path, "mnist_seq.train", *tiny, "data.digits=mnist", "hydra.run.dir=other", code=1, **data)
    assert len(err.strip().splitlines()) <= 2
    assert "mnist was not found in" in err


def test_evaluate_report_and_read_use_a_run(tmp_path: Path, tiny_run: Run) -> None:
    out, _ = run(tmp_path, "mnist_seq.evaluate", f"run={tiny_run.path}", "split=test", "scenes=200", "num_beams=2")
    assert "test, 200 scenes" in out
    folder = tiny_run.path / "evaluations" / "test_beams-2_200-scenes"
    assert {path.name for path in folder.iterdir()} == {"evaluation.json", "scenes.csv", "report.html"}
    assert "test" not in tiny_run.metrics, (
        "only a full evaluation with default settings counts as the run's test metrics"
    )
    run(tmp_path, "mnist_seq.evaluate", f"run={tiny_run.path}", "split=test")
    assert tiny_run.metrics["test"]["scenes"] == 10_000
    assert (tiny_run.path / "evaluations" / "test" / "report.html").is_file()
    out, _ = run(tmp_path, "mnist_seq.report", f"run={tiny_run.path}", "output=elsewhere/page.html")
    assert "report: elsewhere/page.html" in out
    page = (tmp_path / "elsewhere" / "page.html").read_text()
    assert "NOT MNIST" in page
    assert " val scenes of " in page
    run(tmp_path, "mnist_seq.report", f"run={tiny_run.path}", "split=test", "output=elsewhere/test.html")
    assert "10,000 test scenes of " in (tmp_path / "elsewhere" / "test.html").read_text()
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "line.png")
    out, _ = run(tmp_path, "mnist_seq.read", "line.png", "line.png", "--run", str(tiny_run.path))
    assert len(out.splitlines()) == 2
    assert out.startswith("line.png: ")


def test_a_killed_synthesis_is_resumed_and_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    command = ("mnist_seq.synthesise", "data=scatter", "data.digits=uci", "split=train", "scenes=12000")
    for _ in range(2):
        started = start(tmp_path, *command, "output_dir=set")
        num_shards = len(list((tmp_path / "set.part" / "shards").glob("*.jsonl")))
        while started.poll() is None and len(list((tmp_path / "set.part" / "shards").glob("*.jsonl"))) < num_shards + 3:
            time.sleep(0.005)
        started.kill()
        started.communicate()
        assert not (tmp_path / "set").exists(), "the command ended before it could be stopped"
    out, _ = run(tmp_path, *command, "output_dir=set")
    assert "set: 12,000 scenes" in out
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / "set", check=True)
    run(tmp_path, *command, "output_dir=once")
    assert (tmp_path / "set/SHA256SUMS").read_bytes() == (tmp_path / "once/SHA256SUMS").read_bytes()
    assert not (tmp_path / "set.part").exists()


def test_a_folder_can_be_trained_on_and_another_evaluated_on(tmp_path: Path) -> None:
    synthesise = ("mnist_seq.synthesise", "data=scatter", "data.digits=uci")
    run(tmp_path, *synthesise, "split=train", "scenes=300", "output_dir=train", "preview=preview.png")
    run(tmp_path, *synthesise, "split=test", "scenes=100", "output_dir=test")
    assert Image.open(tmp_path / "preview.png").size[0] > 800
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    out, _ = run(tmp_path, "mnist_seq.train", "data.from=train", *tiny, "hydra.run.dir=run")
    assert "NOT MNIST" in out
    out, _ = run(tmp_path, "mnist_seq.evaluate", "run=run", "data.from=test", "split=test")
    assert "test, 100 scenes" in out
    _, err = run(tmp_path, "mnist_seq.evaluate", "run=run", "data.from=test", "split=test", "scenes=101", code=1)
    assert "scenes=101 is more than the 100 images" in err
    _, err = run(tmp_path, "mnist_seq.train", "data.from=test", *tiny, code=1)
    assert "has no train split, only test" in err


def test_a_wheel_trains_from_any_directory(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    code = "import mnist_seq, mnist_seq.config.config_store as c; print(mnist_seq.__file__, c.CONFIG_DIR)"
    options = {"cwd": tmp_path, "env": environment(PYTHONPATH=str(site)), "text": True, "check": True}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, **options).stdout  # type: ignore[call-overload]
    assert printed.split() == [str(site / "mnist_seq/__init__.py"), str(site / "mnist_seq/configs")]
    installed = start(tmp_path, "mnist_seq.train", *TINY, "hydra.run.dir=run", PYTHONPATH=str(site))
    out, err = installed.communicate(timeout=300)
    assert installed.returncode == 0, out + err
    assert "exact match" in out
    assert (tmp_path / "run/weights.safetensors").exists()


def test_commands_work_in_an_ascii_locale_and_terminal(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    picture = tmp_path / "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png"
    Image.new("L", (56, 56)).save(picture)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/labels.csv").write_text(f"image,digits\n../{picture.name},\n../other.png,7\n", encoding="utf-8")
    Image.new("L", (56, 56), 255).save(tmp_path / "other.png")
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    for command in (
        ["mnist_seq.train", "model=enc_dec", "data=grid", *TINY, "hydra.run.dir=run"],
        ["mnist_seq.evaluate", "run=run", "scenes=50"],
        ["mnist_seq.read", picture.name, "--run", "run"],
        ["mnist_seq.train", "data.from=mine", *tiny, "hydra.run.dir=own"],
    ):
        started = start(tmp_path, *command, **ascii_only)
        out, err = started.communicate(timeout=300)
        assert started.returncode == 0, out + err
        assert (out + err).isascii()


def test_help_lists_the_groups_and_the_usual_overrides(tmp_path: Path) -> None:
    out, _ = run(tmp_path, "mnist_seq.train", "--help")
    for word in (
        "model: classifier, conv_stem, custom, enc_dec",
        "data: cluttered, cluttered_60k, folder, grid",
        "resume=",
        "--cfg job",
    ):
        assert word in out
    assert not list(tmp_path.iterdir())
