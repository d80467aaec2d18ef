"""Trainer settings that depend on the hardware, and process-wide settings of torch."""

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
from mnist_seq.inference.device import resolve_device
from mnist_seq.training import hardware, torch_settings
from mnist_seq.training.callbacks import MatmulPrecision
from mnist_seq.training.torch_settings import limit_threads, matmul_precision
from tests.conftest import TINY


@pytest.mark.parametrize("supported", [False, True])
def test_matmul_precision_is_reduced_only_on_cpus_with_bf16_instructions(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: supported)
    given = TrainerConfig(preset="cpu", accelerator="cpu", matmul_precision="auto")
    assert hardware.resolve_auto(given).matmul_precision == ("medium" if supported else "highest")
    assert given.matmul_precision == "auto", "the given config is not modified"
    for other in ({"accelerator": "cuda"}, {"precision": "bf16-mixed"}, {"precision": "64-true"}):
        assert hardware.resolve_auto(replace(given, **other)).matmul_precision == "highest"  # type: ignore[arg-type]
    given.matmul_precision = "high"
    assert hardware.resolve_auto(given).matmul_precision == "high"


@pytest.mark.parametrize("supported", [False, True])
def test_bfloat16_is_chosen_only_on_hardware_with_instructions_for_it(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: supported)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: supported or emulated)
    for kind in ("cpu", "cuda"):
        given = TrainerConfig(preset="cpu", accelerator=kind, precision="auto", matmul_precision="auto")
        found = hardware.resolve_auto(given)
        assert found.precision == ("bf16-mixed" if supported else "32-true")
        assert found.matmul_precision == "highest"
        assert not hardware.precision_warning(found)
        assert given.precision == "auto", "the given config is not modified"
        assert hardware.resolve_auto(replace(given, precision="64-true")).precision == "64-true"
    assert hardware.resolve_auto(replace(given, accelerator="mps")).precision == "32-true"
    for preset in ("cpu", "gpu", "ddp"):
        assert mnist_seq.compose(f"trainer={preset}").trainer.precision == "auto"


@pytest.mark.parametrize("supported", [False, True])
def test_explicit_bfloat16_is_used_with_a_warning_where_it_is_slow(
    supported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: supported)
    run = mnist_seq.fit(*TINY, "trainer.precision=bf16-mixed", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["precision"] == "bf16-mixed"
    assert ("no instructions for bfloat16" in capsys.readouterr().out) != supported


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed", "16-mixed"])
def test_every_precision_trains_resumes_and_evaluates(precision: str, tmp_path: Path) -> None:
    from mnist_seq.config import EvaluateConfig
    from mnist_seq.evaluation.evaluator import load_evaluator

    asked = (*TINY, "data=single", "report=false", f"trainer.precision={precision}", "trainer.max_steps=4")
    first = mnist_seq.fit(*asked, f"hydra.run.dir={tmp_path / 'run'}")
    run = mnist_seq.fit(f"resume={first.path}", "trainer.max_steps=7")
    assert run.metrics["steps"] == 7
    result = load_evaluator(EvaluateConfig(run=str(run.path))).evaluate()
    assert result.metrics["exact_match"].value == run.metrics["val"]["exact_match"]
    assert {weight.dtype for weight in load_file(run.weights).values()} == {torch.float32}


def test_float16_on_a_cpu_warns_that_it_runs_as_bfloat16() -> None:
    found = hardware.resolve_auto(TrainerConfig(preset="cpu", accelerator="cpu", precision="16-mixed"))
    assert "trainer.precision=16-mixed runs as bf16-mixed here" in hardware.precision_warning(found)


def test_double_precision_on_mps_is_refused() -> None:
    with pytest.raises(ValueError, match="64-true is not supported on mps: choose 32-true"):
        hardware.resolve_auto(TrainerConfig(preset="mps", accelerator="mps", precision="64-true"))


@pytest.mark.parametrize(("asked", "chosen"), [(None, "gpu"), ("gpu", "gpu"), ("cuda", "gpu"), ("cpu", "cpu")])
def test_auto_uses_the_preset_of_the_requested_accelerator(
    asked: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    assert hardware.resolve_auto(TrainerConfig(accelerator=asked)).preset == chosen


def test_gradient_clipping_can_be_turned_off() -> None:
    assert hardware.resolve_auto(TrainerConfig(gradient_clip_val=0)).gradient_clip_val == 0
    assert hardware.resolve_auto(TrainerConfig()).gradient_clip_val == 1


@pytest.mark.parametrize(("user_chose", "expected"), [(False, 1), (True, 3)])
def test_threads_follow_the_idle_cores_unless_the_user_chose_a_number(
    user_chose: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_settings, "user_chose_threads", lambda: user_chose)
    monkeypatch.setattr(torch_settings, "idle_cores", lambda: 1)
    with limit_threads(3):
        assert torch_settings.choose_threads() == expected


def flash_enabled() -> bool:
    return bool(torch.backends.cuda.flash_sdp_enabled())


def raise_within_precision(config: TrainerConfig) -> None:
    with matmul_precision(config):
        assert torch.get_float32_matmul_precision() == "medium"
        assert not flash_enabled(), "with reduced precision on a CPU, attention is unfused"
        raise KeyError


def test_matmul_precision_is_restored_after_the_context() -> None:
    """Also after an error: neither the next run of the process nor the user's code is affected."""
    with pytest.raises(KeyError):
        raise_within_precision(TrainerConfig(accelerator="cpu", matmul_precision="medium"))
    assert torch.get_float32_matmul_precision() == "highest"
    assert flash_enabled()
    for config in (
        TrainerConfig(accelerator="cuda", matmul_precision="medium"),
        TrainerConfig(accelerator="cpu", precision="bf16-mixed", matmul_precision="medium"),
    ):
        with matmul_precision(config):
            assert flash_enabled()
    with matmul_precision(TrainerConfig()):
        assert torch.get_float32_matmul_precision() == "highest"


def test_number_of_threads_is_restored_after_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(torch_settings, "available_cores", lambda: 2)
    with limit_threads(3):
        assert torch.get_num_threads() == 3
        with limit_threads(None):
            assert torch.get_num_threads() == 2, "no more than there are cores"
        with limit_threads(1), limit_threads(None):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_precision_is_reduced_in_training_steps_only() -> None:
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


def test_reduced_precision_products_are_close_to_exact_ones() -> None:
    """bfloat16 keeps 8 bits; the sum of n products is off by some sqrt(n) roundings of its terms, or by none."""
    torch.manual_seed(0)
    one, other = torch.randn(64, 128), torch.randn(128, 64)
    exact = one @ other
    with matmul_precision(TrainerConfig(accelerator="cpu", matmul_precision="medium")):
        rounded = one @ other
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=2**-8 * 128**0.5, rtol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_missing_device_is_refused() -> None:
    assert resolve_device("auto") in ("cpu", "mps")
    with pytest.raises(ValueError, match="device=cuda is not available on this machine: choose device=cpu"):
        resolve_device("cuda")
