"""Benchmark suites: each one measures something finite, and reports it under a unique name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mnist_seq.benchmarks import contention, rendering, serving, startup, step_scaling, suites, training
from mnist_seq.benchmarks.load_generator import LoadTestResult
from mnist_seq.benchmarks.timer import Measurement
from mnist_seq.config import BenchConfig
from mnist_seq.config.bench import SPEED_SUITES
from mnist_seq.errors import UserError

SERVING = {"MODEL_NAME": "single", "NUM_CLIENTS": 2, "ROUND_SECONDS": 0.5, "NUM_ROUNDS": 1, "SEQUENTIAL_REQUESTS": 4}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchConfig:
    """A config with which every suite takes seconds."""
    monkeypatch.setattr(rendering, "PRESETS", ("grid", "scatter"))
    monkeypatch.setattr(step_scaling, "AXES", {"batch": (2, 4), "patches": (1, 4), "encoder blocks": (1, 2)})
    commands = {name: startup.COMMANDS[name] for name in ("bare python", *startup.COMPARED)}
    monkeypatch.setattr(startup, "COMMANDS", commands)
    monkeypatch.setattr(startup, "SHORT_RUN", (*startup.SHORT_RUN, "model.encoder_depth=1", "data.val_scenes=100"))
    for suite in (training, contention):
        monkeypatch.setattr(suite, "LOG_EVERY_N_STEPS", 2)
    for name, value in SERVING.items():
        monkeypatch.setattr(serving, name, value)
    return BenchConfig(repeats=1, batch_size=4, device="cpu", output_dir=str(tmp_path))


def test_suite_names_of_the_config_are_the_implemented_ones() -> None:
    assert tuple(suites.SUITES) == (*SPEED_SUITES, "contention", "page")


def test_service_that_answers_nothing_is_named() -> None:
    with pytest.raises(UserError, match="the service, batched, answered 0 of the requests in .* with 3 errors"):
        serving._measurements("batched", [LoadTestResult(errors=3)])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SPEED_SUITES, "contention"])
def test_every_suite_returns_finite_measurements_with_unique_names(
    name: str, config: BenchConfig, tmp_path: Path
) -> None:
    measurements = suites.SUITES[name](config)
    assert len({(it.name, it.unit) for it in measurements}) == len(measurements) > 3
    for measurement in measurements:
        assert isinstance(measurement, Measurement)
        assert math.isfinite(measurement.median)
        assert measurement.minimum <= measurement.median <= measurement.maximum
        counts_mistakes = measurement.unit == "responses"
        assert measurement.median > 0 or counts_mistakes or "minus import" in measurement.name
        assert measurement.maximum == 0 or not counts_mistakes, "the service made mistakes under load"
    assert (tmp_path / "step_scaling.png").exists() == (name == "step_scaling")
