"""What an earlier version wrote is still read, judged, resumed and exported: tests/fixtures holds one of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import mnist_seq
from mnist_seq.config import EvaluateConfig
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.run_dir import Run
from mnist_seq.sweeps import summary
from tests.e2e.forked_command import run

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
RUNS = sorted(path.parent.relative_to(FIXTURES) for path in FIXTURES.rglob("weights.safetensors"))


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixtures, in which the test runs."""
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parts[0]}-{path.parts[1]}-{path.name[-4:]}")
def test_a_run_of_an_earlier_version_loads_and_is_judged_as_it_was(path: Path, copied: Path) -> None:
    reader = mnist_seq.load(path)
    assert len(reader.read_canvases(torch.rand(2, reader.model.spec.height, reader.model.spec.width))) == 2
    was = Run(path).metrics["val"]
    found = load_evaluator(EvaluateConfig(run=str(path))).evaluate().summary()
    assert found["exact_match"] == was["exact_match"]
    assert found["loss"] == pytest.approx(was["loss"], abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_of_an_earlier_version_goes_on(version: str, copied: Path) -> None:
    for name in ("run", "classifier"):
        resumed = mnist_seq.fit(f"resume={Path(version, name)}", "trainer.max_steps=16")
        assert resumed.metrics["steps"] == 16
        assert [int(row["step"]) for row in resumed.logged_metrics if "val/exact_match" in row] == [5, 10, 12, 15, 16]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sweep_of_an_earlier_version_is_tabulated(version: str) -> None:
    members = summary.load_runs(summary.find_runs(FIXTURES / version / "sweep"))
    assert {member.overrides["model.norm"] for member in members} == {"pre", "post"}


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_earlier_version_left_serves_every_command(version: str, copied: Path) -> None:
    here = copied / version
    for name in ("run", "classifier"):
        run(here, "mnist_seq.evaluate", f"run={name}", "report=false")
        run(here, "mnist_seq.report", f"run={name}")
        for to in ("weights", "onnx"):
            out, _ = run(here, "mnist_seq.export", f"run={name}", f"format={to}", f"name={name}", "output_dir=exported")
            assert "it reads none otherwise" in out
    run(here, "mnist_seq.compare", "runs=[sweep]")
    run(here, "mnist_seq.search", "--config-dir", "presets", "search=old", "trials=3", "pruner=none")
    assert len(list((here / "search").glob("trial-*/weights.safetensors"))) == 3
    first = json.loads((here / "search/trial-0000/metrics.json").read_text())
    assert first == json.loads((FIXTURES / version / "search/trial-0000/metrics.json").read_text())
