"""Shared by all tests: digits that need no network, and tiny problems."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import jaxtyping
import pytest

from mnist_seq.cpu_cores import available_cores

os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))  # one number for all runs, however busy the machine

import torch

jaxtyping.install_import_hook(["mnist_seq.nn", "mnist_seq.data"], "beartype.beartype")

from mnist_seq.config import ClassifierConfig, EncoderDecoderConfig, GridConfig  # noqa: E402
from mnist_seq.data import sources  # noqa: E402
from mnist_seq.data.datasets import SyntheticDataset  # noqa: E402
from mnist_seq.run_dir import Run  # noqa: E402

# A shell has its background jobs ignore Ctrl-C, and they pass that on to the commands that these tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = ("model.dim=16", "model.num_heads=2", "model.encoder_depth=1", "data.digits=uci", "data.batch_size=32")
TINY += ("data.val_scenes=100", "trainer=cpu", "trainer.max_steps=12", "trainer.val_check_interval=5")
TINY += ("trainer.log_every_n_steps=2",)
"""Overrides of a run that takes a second."""


@pytest.fixture(autouse=True)
def check_shapes(request: pytest.FixtureRequest) -> None:
    """Check types and shapes of every call in nn and data, in their own tests; elsewhere it would double the time."""
    room = request.path.relative_to(Path(__file__).parent).parts[0]
    jaxtyping.config.update("jaxtyping_disable", room not in ("nn", "data"))


@pytest.fixture(scope="session")
def uci() -> sources.DigitSource:
    return sources.load("uci")


@pytest.fixture
def grids(uci: sources.DigitSource) -> SyntheticDataset:
    """Undistorted 2x2 grids, some cells empty."""
    return SyntheticDataset(GridConfig(p_empty=0.3), uci.pools["val"])


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run of the encoder-decoder on grids."""
    import mnist_seq

    path = tmp_path_factory.mktemp("runs") / "tiny"
    return mnist_seq.fit("model=enc_dec", "data=grid", *TINY, f"hydra.run.dir={path}")


def stirred(model: torch.nn.Module, scale: float = 0.1) -> torch.nn.Module:
    """A model with no weight at zero: at the start every residual branch is silent, and laws would hold trivially."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * scale)
    return model.eval()


def tiny_models() -> dict[str, EncoderDecoderConfig | ClassifierConfig]:
    """Both architectures, and every part that they can be put together from at least once."""
    write = partial(EncoderDecoderConfig, dim=16, num_heads=2, encoder_depth=1, decoder_depth=2)
    sort = partial(ClassifierConfig, dim=16, num_heads=2, encoder_depth=1)
    return {
        "enc_dec": write(),
        "post_norm": write(norm="post", pos_embed="sinusoidal", activation="relu"),
        "rotary": write(pos_embed="rotary", norm_type="rms", activation="swiglu", head_dim=12),
        "conv_stem": write(stem="conv", pos_embed="factorised", num_heads=1),
        "classifier": sort(),
        "cls": sort(pooling="cls", pos_embed="rotary"),
        "mean": sort(pooling="mean", pos_embed="none"),
        "sequence": sort(pooling="sequence", norm="post"),
    }


def write_mnist(folder: Path, train: int = 60, test: int = 20) -> Path:
    """Files in MNIST's format with random images; returns the folder that holds them."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name, count in (("train", train), ("t10k", test)):
        images = torch.randint(0, 256, (count, 28, 28), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 10, (count,), generator=generator, dtype=torch.uint8)
        header = (2051).to_bytes(4) + count.to_bytes(4) + (28).to_bytes(4) * 2
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.numpy().tobytes())
        header = (2049).to_bytes(4) + count.to_bytes(4)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.numpy().tobytes())
    return raw
