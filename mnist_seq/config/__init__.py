"""What can be configured: every group's fields, defaults, units and laws, each written once.

Plain dataclasses, light to import. The YAML presets in `configs/` inherit from these and state only what they change.
"""

from __future__ import annotations

from mnist_seq.config.commands import (
    BenchConfig,
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    ReportConfig,
    SynthesiseConfig,
    TrainConfig,
)
from mnist_seq.config.data import AugmentConfig, DataConfig, Spec
from mnist_seq.config.disturb import DisturbConfig
from mnist_seq.config.families import (
    FAMILIES,
    ClutteredConfig,
    FolderConfig,
    GridConfig,
    LineConfig,
    MixedConfig,
    OverlapConfig,
    SingleConfig,
)
from mnist_seq.config.learning import LossConfig, OptimConfig, TrainerConfig
from mnist_seq.config.model import (
    MODELS,
    ClassifierConfig,
    CustomConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    ModelConfig,
)
from mnist_seq.config.results import Anchor, ResultsConfig
from mnist_seq.config.scatter import ScatterConfig
from mnist_seq.config.serving import Limits, ServeConfig
from mnist_seq.config.sweeps import DevicesConfig, SearchConfig

__all__ = [
    "FAMILIES",
    "MODELS",
    "Anchor",
    "AugmentConfig",
    "BenchConfig",
    "ClassifierConfig",
    "ClutteredConfig",
    "CompareConfig",
    "CustomConfig",
    "DataConfig",
    "DevicesConfig",
    "DisturbConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FolderConfig",
    "GridConfig",
    "Limits",
    "LineConfig",
    "LossConfig",
    "MixedConfig",
    "ModelConfig",
    "OptimConfig",
    "OverlapConfig",
    "ReportConfig",
    "ResultsConfig",
    "ScatterConfig",
    "SearchConfig",
    "ServeConfig",
    "SingleConfig",
    "Spec",
    "SynthesiseConfig",
    "TrainConfig",
    "TrainerConfig",
]
