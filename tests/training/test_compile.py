"""Compiled steps: the same model, the same names, and gone with the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mnist_seq
from tests.conftest import TINY


@pytest.mark.slow
def test_a_compiled_run_learns_what_an_eager_one_learns(tmp_path: Path) -> None:
    weights = []
    for compile in ("true", "false"):
        run = mnist_seq.fit(*TINY, f"trainer.compile={compile}", f"hydra.run.dir={tmp_path / compile}")
        weights.append(load_file(run.weights))
        assert run.metrics["val"]["scenes"] == 100
    compiled, eager = weights
    assert compiled.keys() == eager.keys()
    for name, weight in compiled.items():
        torch.testing.assert_close(weight, eager[name], atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(compiled[name], eager[name]) for name in eager), "nothing was compiled"


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    module, _ = mnist_seq.build("model=tiny", "data=grid", "data.digits=uci")
    with pytest.raises(ValueError, match=r"trainer.compile=true needs a C\+\+ compiler on a CPU: install g\+\+"):
        module.compile_forward("cpu")
