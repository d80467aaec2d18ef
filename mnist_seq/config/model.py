"""Model architectures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from mnist_seq.config.field_types import Below1, PositiveInt, one_of
from mnist_seq.config.validation import Validated, check

NORMS = ("pre", "post")
NORM_TYPES = ("layer", "rms")
ACTIVATIONS = ("relu", "gelu", "swiglu")
POS_EMBEDS = ("none", "learned", "factorised", "sinusoidal", "rotary")
STEMS = ("linear", "conv")
POOLINGS = ("cells", "cls", "mean", "sequence")


@dataclass
class EncoderConfig(Validated):
    """Keys of the patch encoder, which every built-in model has."""

    key_prefix = "model."

    name: str = "encoder"
    """Model; chosen by `model=NAME`."""
    dim: PositiveInt = 128
    """Width of the token embeddings."""
    num_heads: PositiveInt = 4
    """Attention heads; a divisor of dim."""
    head_dim: PositiveInt | None = None
    """Width of the queries and keys of a head; null means dim / num_heads, the width of its values."""
    encoder_depth: PositiveInt = 4
    """Number of encoder blocks."""
    patch_size: PositiveInt = 14
    """Side of a patch, pixels. The canvas is padded on the right and at the bottom to a multiple of it."""
    stem: Annotated[str, one_of(STEMS)] = "linear"
    """Patch embedding: `linear`, or `conv`, convolutions that see beyond the patch (Xiao et al. 2021)."""
    stem_width: PositiveInt = 32
    """Channels of the first convolutions of `conv`; each halving of the resolution doubles them, up to dim."""
    stem_depth: PositiveInt = 2
    """Convolutions of `conv` at each resolution."""
    pos_embed: Annotated[str, one_of(POS_EMBEDS)] = "learned"
    """Position embedding: none, learned, factorised (row + column), sinusoidal or rotary; 2D for patches."""
    norm: Annotated[str, one_of(NORMS)] = "pre"
    """Norm before each sublayer (`pre`), or after each residual sum (`post`, Vaswani et al. 2017)."""
    norm_type: Annotated[str, one_of(NORM_TYPES)] = "layer"
    """Norm: layer or rms (Zhang & Sennrich 2019)."""
    mlp_ratio: PositiveInt = 4
    """Hidden width of the feed-forward layers / dim; swiglu takes two thirds of it, for as many parameters."""
    activation: Annotated[str, one_of(ACTIVATIONS)] = "gelu"
    """Activation of the feed-forward layers: relu, gelu or swiglu (Shazeer 2020)."""
    dropout: Below1 = 0.0
    """Dropout probability after each sublayer and embedding, 0 or more and below 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = type(self).name
        check(self.name == named, f"model.name={self.name} in a {named} config: choose with model={self.name}")
        divisors = [n for n in range(1, self.dim + 1) if self.dim % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - self.num_heads))
        check(
            self.dim % self.num_heads == 0,
            f"model.num_heads={self.num_heads} does not divide model.dim={self.dim}: try model.num_heads={nearest}",
        )
        check(
            self.pos_embed != "sinusoidal" or self.dim % 4 == 0,
            f"model.dim={self.dim} must be a multiple of 4 for model.pos_embed=sinusoidal: sine and cosine per axis",
        )
        check(
            self.pos_embed != "rotary" or self.qk_dim % 4 == 0,
            f"model.head_dim={self.qk_dim} must be a multiple of 4 for model.pos_embed=rotary: a pair an axis",
        )

    @property
    def qk_dim(self) -> int:
        """Width of the queries and keys of a head."""
        return self.head_dim or self.dim // self.num_heads


@dataclass
class EncoderDecoderConfig(EncoderConfig):
    """Encoder-decoder Transformer that predicts the sequence digit by digit (Vaswani et al. 2017)."""

    name: str = "enc_dec"
    decoder_depth: PositiveInt = 2
    """Number of decoder blocks."""


@dataclass
class ClassifierConfig(EncoderConfig):
    """Encoder-only Transformer that classifies all cells of the canvas at once (Dosovitskiy et al. 2021)."""

    name: str = "classifier"
    pooling: Annotated[str, one_of(POOLINGS)] = "cells"
    """Input of the classification heads: a [CLS] token per cell (`cells`, one head shared by all), a single [CLS] token
    (`cls`), or the patches' `mean` or attention-weighted mean (`sequence`), each with a head per cell."""


@dataclass(eq=False)
class CustomConfig:
    """Your own model class; all other keys of `model` are arguments of its constructor."""

    _target_: str = ""
    """The class, as `package.module.Class`."""
    name: str = "custom"
    """Always `custom`."""

    def __post_init__(self) -> None:
        check(
            self.name == "custom",
            f"model.name={self.name} without its schema: start the file with defaults: [schema/{self.name}]",
        )
        check(bool(self._target_), "model._target_ is empty: name a class, as model._target_=mine.Reader")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CustomConfig) and vars(self) == vars(other)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {key: value for key, value in vars(self).items() if key not in ("_target_", "name")}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> CustomConfig:
        """Build the config from plain values."""
        config = CustomConfig(values.get("_target_", ""), values.get("name", "custom"))
        vars(config).update(values)
        return config


ModelConfig = EncoderConfig | CustomConfig

MODEL_CONFIGS: dict[str, type[Any]] = {
    "enc_dec": EncoderDecoderConfig,
    "classifier": ClassifierConfig,
    "custom": CustomConfig,
}
