"""Evaluation of the pretrained models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.field_types import Device, Fraction, PositiveInt, one_of
from mnist_seq.config.validation import Validated, check

METRICS = ("exact_match", "multiset_match", "digit_accuracy")


@dataclass
class PublishedScore(Validated):
    """A published result on the same protocol."""

    key_prefix = "published.NAME."

    score: Fraction | None = None
    """Score, 0..1; null where none is published."""
    source: str = ""
    """Model and paper."""
    metric: Annotated[str, one_of(METRICS)] = "exact_match"
    """Metric of the score: exact_match, multiset_match or digit_accuracy."""


@dataclass
class ResultsConfig(Validated):
    """Evaluate the pretrained models: `python -m mnist_seq.results`."""

    models: list[str] = field(default_factory=list)
    """Names of the models; empty means all."""
    scenes: PositiveInt = 10_000
    """Test scenes of each model's own protocol."""
    robustness_scenes: PositiveInt = 2_000
    """Test scenes per corruption and per other dataset; at most `scenes`."""
    published: dict[str, PublishedScore] = field(default_factory=dict)
    """Model -> published score on its protocol, in the order of the table."""
    corruptions: dict[str, CorruptionConfig] = field(default_factory=dict)
    """Label -> corruption of each model's own scenes."""
    other_data: dict[str, dict[str, str]] = field(default_factory=dict)
    """Model -> label -> overrides of `evaluate` that choose other data."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    output_dir: str = "outputs/results"
    """Folder for results.json and results.md."""
    readme: str | None = None
    """Markdown file; the headline table replaces its text between `<!-- headline -->` and `<!-- /headline -->`."""
    tables: str | None = None
    """Markdown file; all tables replace its text between `<!-- results -->` and `<!-- /results -->`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.robustness_scenes <= self.scenes,
            f"robustness_scenes={self.robustness_scenes} must be at most scenes={self.scenes}",
        )

    def markdown_files(self) -> list[tuple[str, Path, str]]:
        """Key, path and marker of the Markdown files to update."""
        files = [("readme", self.readme, "headline"), ("tables", self.tables, "results")]
        return [(key, Path(path), marker) for key, path, marker in files if path]
