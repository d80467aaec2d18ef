"""What a machine makes of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import load_file

import mnist_seq
from mnist_seq.config import TrainerConfig
from mnist_seq.training import hardware
from mnist_seq.training.callbacks import MatmulPrecision
from tests.conftest import TINY


@pytest.mark.parametrize("able", [False, True])
def test_factors_may_be_rounded_only_where_the_cpu_has_instructions_for_it(
    able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: able)
    given = TrainerConfig(preset="cpu", accelerator="cpu", matmul_precision="auto")
    assert hardware.resolve_auto(given).matmul_precision == ("medium" if able else "highest")
    assert given.matmul_precision == "auto", "what was given stays as it is"
    for other in ({"accelerator": "cuda"}, {"precision": "bf16-mixed"}, {"precision": "64-true"}):
        assert hardware.resolve_auto(replace(given, **other)).matmul_precision == "highest"  # type: ignore[arg-type]
    given.matmul_precision = "high"
    assert hardware.resolve_auto(given).matmul_precision == "high"


@pytest.mark.parametrize("able", [False, True])
def test_bfloat16_is_chosen_only_where_the_hardware_has_instructions_for_it(
    able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: able or emulated)
    for kind in ("cpu", "cuda"):
        given = TrainerConfig(preset="cpu", accelerator=kind, precision="auto", matmul_precision="auto")
        found = hardware.resolve_auto(given)
        assert found.precision == ("bf16-mixed" if able else "32-true")
        assert found.matmul_precision == "highest"
        assert not hardware.precision_warning(found)
        assert given.precision == "auto", "what was given stays as it is"
        assert hardware.resolve_auto(replace(given, precision="64-true")).precision == "64-true"
    assert hardware.resolve_auto(replace(given, accelerator="mps")).precision == "32-true"


@pytest.mark.parametrize("able", [False, True])
def test_bfloat16_that_was_asked_for_is_taken_and_remarked_on_where_it_is_slow(
    able: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: able)
    run = mnist_seq.fit(*TINY, "trainer.precision=bf16-mixed", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["precision"] == "bf16-mixed"
    assert ("no instructions for bfloat16" in capsys.readouterr().out) != able


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed", "16-mixed"])
def test_a_precision_trains_saves_goes_on_and_evaluates(precision: str, tmp_path: Path) -> None:
    from mnist_seq.config import EvaluateConfig
    from mnist_seq.evaluation.evaluator import load_evaluator

    asked = (*TINY, "data=single", "report=false", f"trainer.precision={precision}", "trainer.max_steps=4")
    first = mnist_seq.fit(*asked, f"hydra.run.dir={tmp_path / 'run'}")
    run = mnist_seq.fit(f"resume={first.path}", "trainer.max_steps=7")
    assert run.metrics["steps"] == 7
    judged = load_evaluator(EvaluateConfig(run=str(run.path))).evaluate()
    assert judged.metrics["exact_match"].value == run.metrics["val"]["exact_match"]
    assert {weight.dtype for weight in load_file(run.weights).values()} == {torch.float32}


def test_float16_on_a_cpu_is_said_to_be_bfloat16() -> None:
    found = hardware.resolve_auto(TrainerConfig(preset="cpu", accelerator="cpu", precision="16-mixed"))
    assert "trainer.precision=16-mixed is bf16-mixed here" in hardware.precision_warning(found)


def test_double_precision_on_mps_is_refused() -> None:
    with pytest.raises(ValueError, match="64-true is not to be had on mps: choose 32-true"):
        hardware.resolve_auto(TrainerConfig(preset="mps", accelerator="mps", precision="64-true"))


@pytest.mark.parametrize(("asked", "chosen"), [(None, "gpu"), ("gpu", "gpu"), ("cuda", "gpu"), ("cpu", "cpu")])
def test_auto_takes_the_preset_of_the_accelerator_that_is_asked_for(
    asked: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.resolve_auto(TrainerConfig(accelerator=asked)).preset == chosen


def test_nothing_is_clipped_where_that_is_asked_for() -> None:
    assert hardware.resolve_auto(TrainerConfig(gradient_clip_val=0)).gradient_clip_val == 0
    assert hardware.resolve_auto(TrainerConfig()).gradient_clip_val == 1


def flash() -> bool:
    return bool(torch.backends.cuda.flash_sdp_enabled())


def fail(config: TrainerConfig) -> None:
    with hardware.matmul_precision(config):
        assert torch.get_float32_matmul_precision() == "medium"
        assert not flash(), "on a CPU that may round, attention is by whole products"
        raise KeyError


def test_a_precision_ends_where_it_ends() -> None:
    """Also with an error: the next run of the same process, and the user's own code, know nothing of it."""
    with pytest.raises(KeyError):
        fail(TrainerConfig(accelerator="cpu", matmul_precision="medium"))
    assert torch.get_float32_matmul_precision() == "highest"
    assert flash()
    for config in (
        TrainerConfig(accelerator="cuda", matmul_precision="medium"),
        TrainerConfig(accelerator="cpu", precision="bf16-mixed", matmul_precision="medium"),
    ):
        with hardware.matmul_precision(config):
            assert flash()
    with hardware.matmul_precision(TrainerConfig()):
        assert torch.get_float32_matmul_precision() == "highest"


def test_threads_are_a_runs_own() -> None:
    before = torch.get_num_threads()
    with hardware.limit_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with hardware.limit_threads(None):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_only_steps_may_be_rounded_and_validation_is_exact() -> None:
    seen: dict[str, set[str]] = {"train": set(), "val": set()}

    class Watch(lightning.Callback):
        def on_before_optimizer_step(self, *_: Any) -> None:
            seen["train"].add(torch.get_float32_matmul_precision())

        def on_validation_batch_start(self, *_: Any) -> None:
            seen["val"].add(torch.get_float32_matmul_precision())

    module, data = mnist_seq.build("model=tiny", "data=grid", *TINY)
    config = TrainerConfig(accelerator="cpu", matmul_precision="medium")
    watching = {"callbacks": [MatmulPrecision(config), Watch()], "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    lightning.Trainer(max_steps=4, val_check_interval=2, check_val_every_n_epoch=None, **watching, **quiet).fit(
        module, data
    )
    assert seen == {"train": {"medium"}, "val": {"highest"}}
    assert torch.get_float32_matmul_precision() == "highest"


def test_products_of_less_precision_are_close_to_exact_ones() -> None:
    """bfloat16 keeps 8 bits; the sum of n products is off by some sqrt(n) roundings of its terms, or by none."""
    torch.manual_seed(0)
    one, other = torch.randn(64, 128), torch.randn(128, 64)
    exact = one @ other
    with hardware.matmul_precision(TrainerConfig(accelerator="cpu", matmul_precision="medium")):
        rounded = one @ other
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=2**-8 * 128**0.5, rtol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert hardware.resolve_device("auto") in ("cpu", "mps")
    with pytest.raises(ValueError, match="device=cuda is not to be had on this machine: choose device=cpu"):
        hardware.resolve_device("cuda")
