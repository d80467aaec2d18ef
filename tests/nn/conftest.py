"""Sequence models and images for the tests of decoding."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.config import EncoderDecoderConfig, Spec
from mnist_seq.nn import EncoderDecoder
from mnist_seq.vocabulary import EOS
from tests.conftest import stirred, tiny_models

SPEC = Spec(56, 56, 4, (2, 2))
SEQUENCE_MODELS = {name: config for name, config in tiny_models().items() if isinstance(config, EncoderDecoderConfig)}


def sequence_model(name: str = "enc_dec", spec: Spec = SPEC, scale: float = 0.3) -> EncoderDecoder:
    """A model that predicts sequences of several lengths."""
    torch.manual_seed(0)
    model = stirred(EncoderDecoder(SEQUENCE_MODELS[name], spec), scale)
    assert isinstance(model, EncoderDecoder)
    model.lm_head.bias.data[EOS] += 4
    return model


@pytest.fixture
def images() -> torch.Tensor:
    """Noise of different brightness and contrast, so that predictions differ."""
    noise = torch.rand(12, 1, 56, 56, generator=torch.Generator().manual_seed(1))
    return noise ** torch.linspace(0.1, 8, 12).view(-1, 1, 1, 1)
