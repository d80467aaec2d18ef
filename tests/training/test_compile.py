"""Compiled training steps: the same weights under the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mnist_seq
from mnist_seq.training.compile import compile_forward
from tests.conftest import TINY


@pytest.mark.slow
def test_compiled_run_trains_the_weights_of_an_eager_one(tmp_path: Path) -> None:
    weights = []
    for compiled in ("true", "false"):
        run = mnist_seq.fit(
            *TINY, "trainer.precision=32-true", f"trainer.compile={compiled}", f"hydra.run.dir={tmp_path / compiled}"
        )
        weights.append(load_file(run.weights))
        assert run.metrics["val"]["scenes"] == 100
    compiled_weights, eager_weights = weights
    assert compiled_weights.keys() == eager_weights.keys()
    for name, weight in compiled_weights.items():
        torch.testing.assert_close(weight, eager_weights[name], atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(compiled_weights[name], eager_weights[name]) for name in eager_weights), (
        "nothing was compiled"
    )


def test_missing_compiler_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    module, _ = mnist_seq.build("model=tiny", "data=grid", "data.digits=uci")
    with pytest.raises(ValueError, match=r"trainer.compile=true needs a C\+\+ compiler on a CPU: install g\+\+"):
        compile_forward(module, "cpu")


@pytest.mark.parametrize(
    ("device_type", "accumulates", "mode"),
    [("cuda", False, "reduce-overhead"), ("cuda", True, None), ("cpu", False, None)],
)
def test_steps_are_cuda_graphs_unless_gradients_accumulate(
    device_type: str, accumulates: bool, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs would overwrite the gradients of the earlier batches of a step."""
    module, _ = mnist_seq.build("model=tiny", "data=grid", "data.digits=uci")
    options: dict[str, Any] = {}
    monkeypatch.setattr(module.model, "compile", lambda **given: options.update(given))
    compile_forward(module, device_type, accumulates)
    assert options.get("mode") == mode
