"""Architectures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mnist_seq.config.validation import check, check_choice

NORMS = ("pre", "post")
NORM_TYPES = ("layer", "rms")
ACTIVATIONS = ("relu", "gelu", "swiglu")
POS_EMBEDS = ("none", "learned", "factorised", "sinusoidal", "rotary")
STEMS = ("linear", "conv")
POOLINGS = ("cells", "cls", "mean", "sequence")


@dataclass
class EncoderConfig:
    """A patch encoder: what every model of ours begins with."""

    name: str = "encoder"
    dim: int = 128
    """Width of every token."""
    num_heads: int = 4
    head_dim: int | None = None
    """Width of each head's queries and keys; null takes dim / heads, the width of its values."""
    encoder_depth: int = 4
    """Encoder blocks."""
    patch_size: int = 14
    """Side of a square patch, pixels. Where it does not divide the canvas, background is added right and bottom."""
    stem: str = "linear"
    """What makes a vector of a patch: `linear`, or `conv`: early convolutions that look beyond it."""
    stem_width: int = 32
    """Channels of the stem's first convolutions; each halving doubles them, up to `dim`."""
    stem_depth: int = 2
    """Convolutions of the stem at each resolution."""
    pos_embed: str = "learned"
    """none, learned, factorised (a row's plus a column's), sinusoidal or rotary; patches in two dimensions."""
    norm: str = "pre"
    """Where a norm stands: `pre`, before each sublayer, or `post`, after each residual sum as in the first paper."""
    norm_type: str = "layer"
    """layer or rms."""
    mlp_ratio: int = 4
    """Hidden width of the feed-forward layers over `dim`; swiglu takes two thirds of it, for as many parameters."""
    activation: str = "gelu"
    """Of the feed-forward layers: relu, gelu or swiglu."""
    dropout: float = 0.0
    """Share of activations dropped after each sublayer and embedding, in training."""

    def __post_init__(self) -> None:
        named = next((name for name, schema in MODEL_CONFIGS.items() if schema is type(self)), self.name)
        check(self.name == named, f"model.name={self.name} in a {named} config: choose with model={self.name}")
        for key in ("dim", "num_heads", "encoder_depth", "patch_size", "stem_width", "stem_depth", "mlp_ratio"):
            check(getattr(self, key) >= 1, f"model.{key}={getattr(self, key)} must be at least 1")
        divisors = [n for n in range(1, self.dim + 1) if self.dim % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - self.num_heads))
        check(
            self.dim % self.num_heads == 0,
            f"model.num_heads={self.num_heads} does not divide model.dim={self.dim}: try model.num_heads={nearest}",
        )
        check(
            self.head_dim is None or self.head_dim >= 1, f"model.head_dim={self.head_dim} must be at least 1, or null"
        )
        check(0 <= self.dropout < 1, f"model.dropout={self.dropout} must be at least 0 and below 1")
        for key, known in _CHOICES.items():
            check_choice(f"model.{key}", getattr(self, key, known[0]), known)
        check(
            self.pos_embed != "sinusoidal" or self.dim % 4 == 0,
            f"model.dim={self.dim} must be a multiple of 4 for model.pos_embed=sinusoidal: a sine and a cosine an axis",
        )
        check(
            self.pos_embed != "rotary" or self.qk_dim % 4 == 0,
            f"model.head_dim={self.qk_dim} must be a multiple of 4 for model.pos_embed=rotary: a pair an axis",
        )

    @property
    def qk_dim(self) -> int:
        """Of each head's queries and keys."""
        return self.head_dim or self.dim // self.num_heads


@dataclass
class EncoderDecoderConfig(EncoderConfig):
    """Encoder-decoder Transformer that writes the sequence digit by digit (Vaswani et al. 2017)."""

    name: str = "enc_dec"
    decoder_depth: int = 2
    """Decoder blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.decoder_depth >= 1, f"model.decoder_depth={self.decoder_depth} must be at least 1")


@dataclass
class ClassifierConfig(EncoderConfig):
    """Encoder-only Transformer that reads every cell of the canvas at once (Dosovitskiy et al. 2021)."""

    name: str = "classifier"
    pooling: str = "cells"
    """What the heads look at: a [CLS] token for each cell (`cells`), one for all (`cls`), or the patches' `mean` or
    weighted mean (`sequence`). With `cells` all cells share a head, otherwise each has its own."""


@dataclass(eq=False)
class CustomConfig:
    """A model of your own; every other key of `model` is an argument of its constructor."""

    _target_: str = ""
    """Where it is, as `package.module.Class`."""
    name: str = "custom"

    def __post_init__(self) -> None:
        check(
            self.name == "custom",
            f"model.name={self.name} without its schema: begin the file with defaults: [schema/{self.name}]",
        )
        check(bool(self._target_), "model._target_ is empty: name a class, as model._target_=mine.Reader")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CustomConfig) and vars(self) == vars(other)

    @property
    def kwargs(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_target_", "name")}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> CustomConfig:
        """From plain values, as a file that inherits no schema gives them."""
        config = CustomConfig(values.get("_target_", ""), values.get("name", "custom"))
        vars(config).update(values)
        return config


ModelConfig = EncoderConfig | CustomConfig

MODEL_CONFIGS: dict[str, type[Any]] = {
    "enc_dec": EncoderDecoderConfig,
    "classifier": ClassifierConfig,
    "custom": CustomConfig,
}

_CHOICES = {
    "norm": NORMS,
    "norm_type": NORM_TYPES,
    "activation": ACTIVATIONS,
    "pos_embed": POS_EMBEDS,
    "stem": STEMS,
    "pooling": POOLINGS,
}
