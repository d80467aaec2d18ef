"""The typed schema of every config group: fields with defaults, units and validation, each written once.

Plain dataclasses, light to import. The YAML presets in `configs/` inherit from them and state only what they change.
"""

from __future__ import annotations

from mnist_seq.config.bench import BenchConfig
from mnist_seq.config.commands import (
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    ReportConfig,
    SynthesiseConfig,
    TrainConfig,
)
from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.data import AugmentConfig, DataConfig, Spec
from mnist_seq.config.families import (
    FAMILY_CONFIGS,
    ClutteredConfig,
    GridConfig,
    MixedConfig,
    MultidigitConfig,
    OverlapConfig,
    SingleConfig,
    StringConfig,
)
from mnist_seq.config.folder import FolderConfig
from mnist_seq.config.line import LineConfig
from mnist_seq.config.model import (
    MODEL_CONFIGS,
    ClassifierConfig,
    CustomConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    ModelConfig,
)
from mnist_seq.config.results import PublishedScore, ResultsConfig
from mnist_seq.config.scatter import ScatterConfig
from mnist_seq.config.serving import RequestLimits, ServeConfig
from mnist_seq.config.sweeps import DevicesLauncherConfig, SearchConfig
from mnist_seq.config.training import LossConfig, OptimConfig, TrainerConfig

__all__ = [
    "FAMILY_CONFIGS",
    "MODEL_CONFIGS",
    "AugmentConfig",
    "BenchConfig",
    "ClassifierConfig",
    "ClutteredConfig",
    "CompareConfig",
    "CorruptionConfig",
    "CustomConfig",
    "DataConfig",
    "DevicesLauncherConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FolderConfig",
    "GridConfig",
    "LineConfig",
    "LossConfig",
    "MixedConfig",
    "ModelConfig",
    "MultidigitConfig",
    "OptimConfig",
    "OverlapConfig",
    "PublishedScore",
    "ReportConfig",
    "RequestLimits",
    "ResultsConfig",
    "ScatterConfig",
    "SearchConfig",
    "ServeConfig",
    "SingleConfig",
    "Spec",
    "StringConfig",
    "SynthesiseConfig",
    "TrainConfig",
    "TrainerConfig",
]
