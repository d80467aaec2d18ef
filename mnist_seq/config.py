"""What can be configured: every group's fields, defaults, units and laws, each written once.

Plain dataclasses, light to import. The YAML presets in `configs/` inherit from these and state only what they change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise ValueError(law)


@dataclass(frozen=True)
class Spec:
    """The shape of the problem, decided by the data and given to the model."""

    height: int
    """Canvas height, pixels."""
    width: int
    """Canvas width, pixels."""
    max_digits: int
    """Most digits a scene can hold."""
    cells: tuple[int, int]
    """Rows and columns of the cells that a classifier reads."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))


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
        _require(self.name == named, f"model.name={self.name} in a {named} config: choose with model={self.name}")
        for key in ("dim", "heads", "encoder_depth", "patch", "mlp_ratio"):
            _require(getattr(self, key) >= 1, f"model.{key}={getattr(self, key)} must be at least 1")
        divisors = [n for n in range(1, self.dim + 1) if self.dim % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - self.heads))
        _require(
            self.dim % self.heads == 0,
            f"model.heads={self.heads} does not divide model.dim={self.dim}: try model.heads={nearest}",
        )
        _require(0 <= self.dropout < 1, f"model.dropout={self.dropout} must be at least 0 and below 1")


@dataclass
class EncoderDecoderConfig(EncoderConfig):
    """Encoder-decoder Transformer that writes the sequence digit by digit (Vaswani et al. 2017), pre-norm."""

    name: str = "enc_dec"
    decoder_depth: int = 2
    """Decoder blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.decoder_depth >= 1, f"model.decoder_depth={self.decoder_depth} must be at least 1")


@dataclass
class ClassifierConfig(EncoderConfig):
    """Encoder-only Transformer that reads one class token per cell of the canvas (Dosovitskiy et al. 2021)."""

    name: str = "classifier"


MODELS: dict[str, type[EncoderConfig]] = {"enc_dec": EncoderDecoderConfig, "classifier": ClassifierConfig}


# ------------------------------------------------------------------------------------------------------------- data


@dataclass
class AugmentConfig:
    """Random distortion of each training digit within its 28x28 frame; uniform in the ranges given."""

    rotation: float = 0.0
    """Largest angle either way, degrees."""
    scale: float = 0.0
    """Largest relative change of size: 0.1 draws from 0.9 to 1.1."""
    shear: float = 0.0
    """Largest horizontal shear either way, degrees."""
    shift: float = 0.0
    """Largest displacement either way on each axis, pixels; less where ink would leave the frame."""

    def __post_init__(self) -> None:
        for key, limit in (("rotation", 180), ("scale", 0.9), ("shear", 60), ("shift", 14)):
            value = getattr(self, key)
            _require(0 <= value <= limit, f"data.augment.{key}={value} must lie in 0..{limit}")


@dataclass
class DataConfig:
    """What every scene family shares."""

    family: str = "scene"
    digits: str = "auto"
    """Where single digits come from: auto, mnist, uci, emnist, kmnist, fashion_mnist, qmnist."""
    pool: str = "split"
    """`split` keeps a validation pool apart; `full` trains on both, without validation."""
    batch_size: int = 128
    """Scenes a step and device."""
    val_scenes: int = 5000
    """Scenes of a validation, the same in every run."""
    scene_seed: int = 0
    """Seed of the val and test scenes; training scenes follow the run's own `seed`."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        named = next((name for name, schema in FAMILIES.items() if schema is type(self)), self.family)
        _require(self.family == named, f"data.family={self.family} in a {named} config: choose with data={self.family}")
        for key in ("batch_size", "val_scenes"):
            _require(getattr(self, key) >= 1, f"data.{key}={getattr(self, key)} must be at least 1")
        _require(self.pool in ("split", "full"), f"data.pool={self.pool} is neither split nor full")


@dataclass
class SingleConfig(DataConfig):
    """One digit on 28x28."""

    family: str = "single"


@dataclass
class GridConfig(DataConfig):
    """A digit in each 28x28 cell of a grid, read in raster order."""

    family: str = "grid"
    rows: int = 2
    cols: int = 2
    empty: float = 0.0
    """Chance of a cell to stay empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("rows", "cols"):
            _require(getattr(self, key) >= 1, f"data.{key}={getattr(self, key)} must be at least 1")
        _require(0 <= self.empty < 1, f"data.empty={self.empty} must be at least 0 and below 1")


FAMILIES: dict[str, type[DataConfig]] = {"single": SingleConfig, "grid": GridConfig}


# --------------------------------------------------------------------------------------------------------- learning


@dataclass
class OptimConfig:
    """AdamW (Loshchilov & Hutter 2019); norms, biases and positions are not decayed."""

    lr: float = 2e-3
    """Peak learning rate."""
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    schedule: str = "linear"
    """After the warm-up: `linear` or `cosine` decay to `final_lr` at the last step, or `constant`."""
    final_lr: float = 0.0
    """Learning rate at the end of the decay, as a share of the peak."""

    def __post_init__(self) -> None:
        self.betas = (self.betas[0], self.betas[1])
        _require(self.lr > 0, f"optim.lr={self.lr} must be above 0")
        _require(self.weight_decay >= 0, f"optim.weight_decay={self.weight_decay} must not be negative")
        _require(self.warmup_steps >= 0, f"optim.warmup_steps={self.warmup_steps} must not be negative")
        _require(all(0 <= beta < 1 for beta in self.betas), f"optim.betas={self.betas} must lie in 0..1")
        known = ("linear", "cosine", "constant")
        _require(self.schedule in known, f"optim.schedule={self.schedule} is unknown: choose from {', '.join(known)}")
        _require(0 <= self.final_lr <= 1, f"optim.final_lr={self.final_lr} must lie in 0..1")


@dataclass
class LossConfig:
    """Cross-entropy, averaged over digits and end tokens."""

    label_smoothing: float = 0.05

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        _require(0 <= smoothing < 1, f"loss.label_smoothing={smoothing} must be at least 0 and below 1")


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer; any other of them passes through (`+trainer.profiler=simple`).

    A field left null takes the value of the preset that `trainer=auto` picks, or else Lightning's.
    """

    preset: str = "auto"
    """Which preset this is; `auto` picks cpu, gpu or mps by the hardware at the start of a run."""
    max_steps: int | None = None
    """Optimiser steps."""
    accelerator: str | None = None
    devices: int | None = None
    precision: str | None = None
    """32-true, bf16-mixed, ... as Lightning names them."""
    val_check_interval: int | None = None
    """Steps between validations; each validation writes a checkpoint."""
    log_every_n_steps: int | None = None
    gradient_clip_val: float | None = None
    """Largest norm of the gradient."""
    threads: int | None = None
    """CPU threads that torch uses; null leaves it to torch."""

    def __post_init__(self) -> None:
        for key in ("max_steps", "val_check_interval", "log_every_n_steps", "devices", "threads"):
            value = getattr(self, key)
            _require(value is None or value >= 1, f"trainer.{key}={value} must be at least 1")
        clip = self.gradient_clip_val
        _require(clip is None or clip > 0, f"trainer.gradient_clip_val={clip} must be above 0, or null for none")

    def arguments(self) -> dict[str, Any]:
        """What Lightning's Trainer is given: all that is set, except what is ours."""
        return {k: v for k, v in vars(self).items() if v is not None and k not in ("preset", "threads")}


@dataclass
class TrainConfig:
    """A whole training run: `python -m mnist_seq.train`."""

    model: Any = None
    data: Any = None
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: Any = None
    """Loggers beside the CSV table, by name: a dict of `_target_`s."""
    callbacks: Any = None
    """Callbacks of Lightning, by name: a dict of `_target_`s."""
    seed: int = 0
    """Seed of weights, training scenes and dropout."""
    resume: str | None = None
    """A run directory to go on with; only trainer.max_steps and logger may change."""

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**31, f"seed={self.seed} must lie in 0..2147483647")


@dataclass
class EvaluateConfig:
    """Judging a run: `python -m mnist_seq.evaluate`."""

    run: str | None = None
    """A run directory, a checkpoint or weights; null takes the newest run under outputs/."""
    data: Any = None
    """Another data preset than the run's own."""
    split: str = "val"
    """val or test."""
    scenes: int | None = None
    """How many; null takes data.val_scenes for val and 10,000 for test."""
    batch_size: int = 512
    device: str = "auto"
    """auto, cpu, cuda, mps."""

    def __post_init__(self) -> None:
        devices = ("auto", "cpu", "cuda", "mps")
        _require(self.device in devices, f"device={self.device} is unknown: choose from {', '.join(devices)}")
        _require(self.split in ("val", "test"), f"split={self.split} is unknown: choose from val, test")
        _require(self.scenes is None or self.scenes >= 1, f"scenes={self.scenes} must be at least 1")
        _require(self.batch_size >= 1, f"batch_size={self.batch_size} must be at least 1")


@dataclass
class BenchConfig:
    """Timing: `python -m mnist_seq.bench`."""

    suite: Any = "all"
    """Of scenes, train, read, startup: all, one, or several with commas between."""
    repeats: int = 30
    """Runs of each figure, after two to warm up."""
    to: str | None = None
    """A JSON file for the figures."""

    def __post_init__(self) -> None:
        self.suite = ",".join(self.suite) if isinstance(self.suite, list) else str(self.suite)
        known = ("scenes", "train", "read", "startup")
        unknown = set(self.suite.split(",")) - {"all", *known}
        _require(not unknown, f"suite={self.suite} is unknown: choose from all, {', '.join(known)}")
        _require(self.repeats >= 1, f"repeats={self.repeats} must be at least 1")
