"""Suite step_profile: each operation counts once, under its kind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import pytest

from mnist_seq import bench
from mnist_seq.benchmarks import step_profile
from mnist_seq.config import BenchConfig


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mm", "matrix products"),
        ("aten::convolution_backward", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention kernel"),
        ("aten::_softmax_backward_data", "softmax"),
        ("aten::native_layer_norm_backward", "norms"),
        ("aten::gelu", "activations"),
        ("aten::_fused_adamw_", "optimizer and clipping"),
        ("aten::copy_", "casts and copies"),
        ("aten::sum", "sums for biases and embeddings"),
        ("aten::cumsum", "other operations"),
        ("aten::add_", "other operations"),
    ],
)
def test_operations_have_the_kind_of_their_name(operation: str, kind: str) -> None:
    assert step_profile.kind_of(operation) == kind


class _Profiler(NamedTuple):
    """What a profile of one product, one scope of the user and, on a GPU, one kernel consists of."""

    device: str

    def __enter__(self) -> _Profiler:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def key_averages(self) -> list[SimpleNamespace]:
        cpu, cuda = SimpleNamespace(name="CPU"), SimpleNamespace(name="CUDA")
        times = {"self_cpu_time_total": 5000.0, "self_device_time_total": 7000.0}
        events = [
            SimpleNamespace(key=key, device_type=cpu, **times) for key in ("aten::mm", "Optimizer.step#AdamW.step")
        ]
        return events + [SimpleNamespace(key="gemm_kernel", device_type=cuda, **times)] * (self.device == "cuda")


@pytest.mark.parametrize(("device", "milliseconds"), [("cpu", 5), ("cuda", 7)])
def test_each_operation_counts_once_and_all_kinds_add_up(
    device: str, milliseconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_profile, "profile", lambda activities: _Profiler(device))
    monkeypatch.setattr(step_profile.time, "perf_counter", iter((0.0, 0.1)).__next__)
    kinds = step_profile._profile(lambda: None, device)
    assert kinds["matrix products"] == milliseconds
    assert sum(kinds.values()) == pytest.approx(100)
    assert kinds[step_profile.BETWEEN] == pytest.approx(100 - milliseconds)


def test_a_device_that_cannot_be_profiled_is_named() -> None:
    (line,) = bench._skipped(BenchConfig("step_profile", device="mps"))
    assert line == "device=mps cannot be profiled, skipped: suite=step_profile (device=cpu)"
    assert not bench._skipped(BenchConfig("step_profile", device="cpu"))
