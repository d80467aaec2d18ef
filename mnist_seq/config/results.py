"""What the readers that ship are put to."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.validation import DEVICES, check, check_choice

METRICS = ("exact_match", "multiset_match", "digit_accuracy")


@dataclass
class PublishedScore:
    """What others have reached on a protocol."""

    score: float | None = None
    """From 0 to 1; null where nobody has published one."""
    source: str = ""
    metric: str = "exact_match"
    """exact_match, multiset_match or digit_accuracy: what theirs and ours are counted by."""

    def __post_init__(self) -> None:
        check_choice("anchors.*.measure", self.metric, METRICS)
        check(self.score is None or 0 <= self.score <= 1, f"anchors.*.score={self.score} must lie in 0..1")


@dataclass
class ResultsConfig:
    """The readers that ship, judged: `python -m mnist_seq.results`."""

    models: list[str] = field(default_factory=list)
    """By name; none means all."""
    scenes: int = 10_000
    """Test scenes of a reader's own protocol."""
    robustness_scenes: int = 2_000
    """Test scenes that are disturbed, or from elsewhere, of each kind."""
    published: dict[str, PublishedScore] = field(default_factory=dict)
    """By protocol, in the order of the table."""
    corruptions: dict[str, CorruptionConfig] = field(default_factory=dict)
    """What each reader's own scenes are put through, by what it is called."""
    other_data: dict[str, dict[str, str]] = field(default_factory=dict)
    """Scenes other than a reader's own, by its name and by what they are called: what `evaluate` is asked."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    output_dir: str = "outputs/results"
    """The folder for results.json and results.md."""
    readme: str | None = None
    """A Markdown file in which the tables replace what stands between `<!-- results -->` and `<!-- /results -->`."""

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        for key in ("scenes", "robustness_scenes"):
            check(getattr(self, key) >= 1, f"{key}={getattr(self, key)} must be at least 1")
        check(
            self.robustness_scenes <= self.scenes,
            f"robustness_scenes={self.robustness_scenes} must be at most scenes={self.scenes}",
        )
