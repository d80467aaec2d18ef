"""What is timed: every suite measures something, and says what."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mnist_seq.benchmarks import rendering, serving, startup, step_scaling, suites, training
from mnist_seq.benchmarks.timer import Measurement
from mnist_seq.config import BenchConfig
from mnist_seq.config.commands import SUITES as NAMES


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchConfig:
    """Of a benchmark that takes seconds."""
    monkeypatch.setattr(rendering, "DEVICE_PRESETS", ("grid", "scatter"))
    monkeypatch.setattr(step_scaling, "AXES", {"batch": (2, 4), "patches": (1, 4), "encoder blocks": (1, 2)})
    monkeypatch.setattr(
        startup, "COMMANDS", {name: startup.COMMANDS[name] for name in ("python alone", *startup.COMPARED)}
    )
    monkeypatch.setattr(startup, "SHORT_RUN", (*startup.SHORT_RUN, "model.encoder_depth=1", "data.val_scenes=100"))
    monkeypatch.setattr(training, "LOG_EVERY_N_STEPS", 2)
    for key, value in {"READER": "single", "CLIENTS": 2, "SECONDS": 0.5, "ROUNDS": 1, "ALONE": 4}.items():
        monkeypatch.setattr(serving, key, value)
    return BenchConfig(repeats=1, batch_size=4, device="cpu", output_dir=str(tmp_path))


def test_every_suite_can_be_asked_for() -> None:
    assert tuple(suites.SUITES) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", suites.SUITES)
def test_a_suite_says_what_it_measured(name: str, config: BenchConfig, tmp_path: Path) -> None:
    figures = suites.SUITES[name](config)
    assert len({(what, unit) for what, unit, *_ in figures}) == len(figures) > 3
    for figure in figures:
        assert isinstance(figure, Measurement)
        assert math.isfinite(figure.median)
        assert figure.minimum <= figure.median <= figure.maximum
        assert figure.median > 0 or "less import" in figure.name or figure.unit == "answers"
        assert figure.maximum == 0 or figure.unit != "answers", "a service under load made mistakes"
    assert (tmp_path / "growth.png").exists() == (name == "growth")
