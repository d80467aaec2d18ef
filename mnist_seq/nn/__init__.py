"""Models in plain torch: no Lightning, no Hydra, no data. README.md says in which order to read the files."""

from mnist_seq.nn.attention_maps import compute_attention_maps
from mnist_seq.nn.classifier import Classifier
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.factory import MODELS, build
from mnist_seq.nn.model import Model

__all__ = [
    "MODELS",
    "Classifier",
    "EncoderDecoder",
    "Model",
    "build",
    "compute_attention_maps",
]
