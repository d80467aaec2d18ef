"""What can be configured: every group's fields, defaults, units and laws, each written once.

Plain dataclasses, light to import. The YAML presets in `configs/` inherit from these and state only what they change.
"""

from __future__ import annotations

from mnist_seq.config.commands import BenchConfig, EvaluateConfig, TrainConfig
from mnist_seq.config.data import FAMILIES, AugmentConfig, DataConfig, GridConfig, SingleConfig, Spec
from mnist_seq.config.learning import LossConfig, OptimConfig, TrainerConfig
from mnist_seq.config.model import MODELS, ClassifierConfig, EncoderConfig, EncoderDecoderConfig

__all__ = [
    "FAMILIES",
    "MODELS",
    "AugmentConfig",
    "BenchConfig",
    "ClassifierConfig",
    "DataConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "EvaluateConfig",
    "GridConfig",
    "LossConfig",
    "OptimConfig",
    "SingleConfig",
    "Spec",
    "TrainConfig",
    "TrainerConfig",
]
