"""Evaluation of the pretrained models."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.validation import DEVICES, check, check_choice

METRICS = ("exact_match", "multiset_match", "digit_accuracy")


@dataclass
class PublishedScore:
    """A published result on the same protocol."""

    score: float | None = None
    """Score, 0..1; null where none is published."""
    source: str = ""
    """Model and paper."""
    metric: str = "exact_match"
    """Metric of the score: exact_match, multiset_match or digit_accuracy."""

    def __post_init__(self) -> None:
        check_choice("published.*.metric", self.metric, METRICS)
        check(self.score is None or 0 <= self.score <= 1, f"published.*.score={self.score} must lie in 0..1")


@dataclass
class ResultsConfig:
    """Evaluate the pretrained models: `python -m mnist_seq.results`."""

    models: list[str] = field(default_factory=list)
    """Names of the models; empty means all."""
    scenes: int = 10_000
    """Test scenes of each model's own protocol."""
    robustness_scenes: int = 2_000
    """Test scenes of each corruption and of each other data; at most `scenes`."""
    published: dict[str, PublishedScore] = field(default_factory=dict)
    """Model -> published score on its protocol, in the order of the table."""
    corruptions: dict[str, CorruptionConfig] = field(default_factory=dict)
    """Label -> corruption of each model's own scenes."""
    other_data: dict[str, dict[str, str]] = field(default_factory=dict)
    """Model -> label -> overrides of `evaluate` that choose other data."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    output_dir: str = "outputs/results"
    """Folder for results.json and results.md."""
    readme: str | None = None
    """Markdown file whose text between `<!-- headline -->` and `<!-- /headline -->` the headline table replaces."""
    tables: str | None = None
    """Markdown file whose text between `<!-- results -->` and `<!-- /results -->` all tables replace."""

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        for key in ("scenes", "robustness_scenes"):
            check(getattr(self, key) >= 1, f"{key}={getattr(self, key)} must be at least 1")
        check(
            self.robustness_scenes <= self.scenes,
            f"robustness_scenes={self.robustness_scenes} must be at most scenes={self.scenes}",
        )

    def markdown_files(self) -> list[tuple[str, str, str]]:
        """Key, path and marker of the Markdown files to update."""
        files = [("readme", self.readme, "headline"), ("tables", self.tables, "results")]
        return [(key, path, marker) for key, path, marker in files if path]
