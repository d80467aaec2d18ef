"""What a machine makes of training."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.config import TrainerConfig
from mnist_seq.learn import machine


@pytest.mark.parametrize("able", [False, True])
def test_factors_are_rounded_only_where_the_cpu_has_instructions_for_it(
    able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "multiplies_bf16", lambda: able)
    given = TrainerConfig(preset="cpu", accelerator="cpu", matmul_precision="auto")
    assert machine.suited(given).matmul_precision == ("medium" if able else "highest")
    assert given.matmul_precision == "auto", "what was given stays as it is"
    given.matmul_precision = "high"
    assert machine.suited(given).matmul_precision == "high"


def test_arithmetic_ends_where_it_ends() -> None:
    """Also with an error; the next run of the same process, or the user's own code, knows nothing of it."""
    flash = torch.backends.cuda.flash_sdp_enabled
    assert torch.get_float32_matmul_precision() == "highest"
    assert flash()

    def fail() -> None:
        with machine.arithmetic(TrainerConfig(accelerator="cpu", matmul_precision="medium")):
            assert torch.get_float32_matmul_precision() == "medium"
            assert not flash(), "on a CPU that rounds, attention is by whole products"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_float32_matmul_precision() == "highest"
    assert flash()
    with machine.arithmetic(TrainerConfig(accelerator="cuda", matmul_precision="medium")):
        assert flash()
    with machine.arithmetic(TrainerConfig()):
        assert torch.get_float32_matmul_precision() == "highest"


def test_rounded_factors_are_close_to_exact_ones() -> None:
    """bfloat16 keeps 8 bits; the sum of n products is off by some sqrt(n) roundings of its terms."""
    torch.manual_seed(0)
    one, other = torch.randn(64, 128), torch.randn(128, 64)
    exact = one @ other
    with machine.arithmetic(TrainerConfig(accelerator="cpu", matmul_precision="medium")):
        rounded = one @ other
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=2**-8 * 128**0.5, rtol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert machine.device("auto") in ("cpu", "mps")
    with pytest.raises(ValueError, match="device=cuda is not to be had on this machine: choose device=cpu"):
        machine.device("cuda")
