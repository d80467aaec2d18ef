"""Architectures."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_seq.config.law import require


@dataclass
class EncoderConfig:
    """A patch encoder: what every model here begins with."""

    name: str = "encoder"
    dim: int = 128
    """Width of every token."""
    heads: int = 4
    encoder_depth: int = 4
    """Encoder blocks."""
    patch: int = 14
    """Side of a square patch, pixels. Where it does not divide the canvas, background is added right and bottom."""
    mlp_ratio: int = 4
    """Hidden width of the feed-forward layers over `dim`."""
    dropout: float = 0.0
    """Share of activations dropped after each sublayer and embedding, in training."""

    def __post_init__(self) -> None:
        named = next((name for name, schema in MODELS.items() if schema is type(self)), self.name)
        require(self.name == named, f"model.name={self.name} in a {named} config: choose with model={self.name}")
        for key in ("dim", "heads", "encoder_depth", "patch", "mlp_ratio"):
            require(getattr(self, key) >= 1, f"model.{key}={getattr(self, key)} must be at least 1")
        divisors = [n for n in range(1, self.dim + 1) if self.dim % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - self.heads))
        require(
            self.dim % self.heads == 0,
            f"model.heads={self.heads} does not divide model.dim={self.dim}: try model.heads={nearest}",
        )
        require(0 <= self.dropout < 1, f"model.dropout={self.dropout} must be at least 0 and below 1")


@dataclass
class EncoderDecoderConfig(EncoderConfig):
    """Encoder-decoder Transformer that writes the sequence digit by digit (Vaswani et al. 2017), pre-norm."""

    name: str = "enc_dec"
    decoder_depth: int = 2
    """Decoder blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.decoder_depth >= 1, f"model.decoder_depth={self.decoder_depth} must be at least 1")


@dataclass
class ClassifierConfig(EncoderConfig):
    """Encoder-only Transformer that reads one class token per cell of the canvas (Dosovitskiy et al. 2021)."""

    name: str = "classifier"


MODELS: dict[str, type[EncoderConfig]] = {"enc_dec": EncoderDecoderConfig, "classifier": ClassifierConfig}
