"""What each command can be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.model import CustomConfig
from mnist_seq.config.training import LossConfig, OptimConfig, TrainerConfig
from mnist_seq.config.validation import check, check_choice, check_trust

DEVICES = ("auto", "cpu", "cuda", "mps")


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
    report: Any = "auto"
    """Write report.html at the end: true, false, or auto, which leaves it out for jobs of a sweep."""
    init_from: str | None = None
    """A run, weights, a checkpoint or pretrained:NAME whose parts, as far as name and shape match, the model begins
    with."""
    resume: str | None = None
    """A run directory, or its last.ckpt, to go on with; `latest` is the newest under outputs/ that has not ended. Only
    trainer.max_steps and logger may change."""
    trust: Any = None
    """true, or a module: the code from outside the package that the run which is resumed names may run."""
    test: bool = False
    """Evaluate on the test split at the end too, as `evaluate split=test` does."""

    def __post_init__(self) -> None:
        check_trust(self.trust)
        check(0 <= self.seed < 2**31, f"seed={self.seed} must lie in 0..2147483647")
        check(self.report in (True, False, "auto"), f"report={self.report} must be true, false or auto")
        if isinstance(self.model, dict):
            self.model = CustomConfig.from_dict(self.model)


@dataclass
class EvaluateConfig:
    """Judging a run: `python -m mnist_seq.evaluate`."""

    run: str | None = None
    """A run directory, a checkpoint, weights or pretrained:NAME; null, or `latest`, takes the newest run under
    outputs/."""
    data: Any = None
    """Another data preset than the run's own."""
    split: str = "val"
    """val or test."""
    scenes: int | None = None
    """How many; null takes data.val_scenes for val and 10,000 for test."""
    batch_size: int = 512
    num_beams: int = 1
    """Hypotheses of beam search; 1 reads greedily."""
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    """What the scenes are put through."""
    trust: Any = None
    """true, or a module: the code from outside the package that a saved model names may run."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    output_dir: str | None = None
    """The folder for judgement.json, scenes.csv and report.html; null takes one in the run's directory."""
    report: bool = True
    """Write report.html."""

    def __post_init__(self) -> None:
        check_trust(self.trust)
        check_choice("device", self.device, DEVICES)
        check_choice("split", self.split, ("val", "test"))
        check(self.scenes is None or self.scenes >= 1, f"scenes={self.scenes} must be at least 1")
        for key in ("batch_size", "num_beams"):
            check(getattr(self, key) >= 1, f"{key}={getattr(self, key)} must be at least 1")


@dataclass
class ReportConfig:
    """The page of a run: `python -m mnist_seq.report`."""

    run: str | None = None
    """A run directory, a checkpoint, weights or pretrained:NAME; null, or `latest`, takes the newest run under
    outputs/."""
    output: str | None = None
    """The page, a path that ends in .html; null takes report.html in the run's directory."""
    trust: Any = None
    """true, or a module: the code from outside the package that a saved model names may run."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""

    def __post_init__(self) -> None:
        check_trust(self.trust)
        check_choice("device", self.device, DEVICES)
        check(self.output is None or self.output.endswith(".html"), f"output={self.output} must end in .html")


@dataclass
class CompareConfig:
    """Readers side by side: `python -m mnist_seq.compare`."""

    runs: list[str] = field(default_factory=list)
    """Runs, weights or pretrained:NAME; or several seeds of a recipe each, as a folder of runs or a pattern with *; or
    one sweep."""
    data: Any = None
    """A data preset that all can read; null takes the first one's own."""
    split: str = "val"
    """val or test."""
    scenes: int | None = None
    """How many; null takes data.val_scenes for val and 10,000 for test."""
    batch_size: int = 512
    trust: Any = None
    """true, or a module: the code from outside the package that a saved model names may run."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    output_dir: str | None = None
    """The folder for comparison.json and comparison.html; null takes a new one under outputs/compared."""

    def __post_init__(self) -> None:
        check_trust(self.trust)
        self.runs = [run.rstrip("/") or "/" for run in self.runs]
        check(len(set(self.runs)) == len(self.runs), f"runs=[{','.join(self.runs)}] names one of them twice")
        check(bool(self.runs), "runs=[] is empty: name two runs or more, runs=[A,B], or a sweep's folder, runs=[DIR]")
        self.evaluate_config("")

    def evaluate_config(self, run: str) -> EvaluateConfig:
        """How one of them is judged."""
        return EvaluateConfig(
            run=run,
            data=self.data,
            split=self.split,
            scenes=self.scenes,
            batch_size=self.batch_size,
            trust=self.trust,
            device=self.device,
        )


FORMATS = ("weights", "onnx")


@dataclass
class ExportConfig:
    """A reader to give away: `python -m mnist_seq.export`."""

    run: str | None = None
    """A run directory, a checkpoint, weights or pretrained:NAME; null, or `latest`, takes the newest run under
    outputs/."""
    format: str = "weights"
    """`weights`: safetensors of 16-bit floats and a model card; `onnx`: one graph, for ONNX Runtime and others."""
    name: str | None = None
    """What it is called; null takes the family of its scenes."""
    output_dir: str | None = None
    """Where its own folder, called as it is, is made; null takes outputs/exported."""
    seed_runs: list[str] = field(default_factory=list)
    """Runs of the same recipe with other seeds, judged on test, of whose scores the card tells too."""
    trust: Any = None
    """true, or a module: the code from outside the package that a saved model names may run."""

    def __post_init__(self) -> None:
        check_trust(self.trust)
        check_choice("format", self.format, FORMATS)
        named = self.name is None or re.fullmatch(r"\w[\w.-]*", self.name)
        check(bool(named), f"name={self.name} must be letters, digits, _, - and dots, to name a folder")


@dataclass
class SynthesiseConfig:
    """Scenes to look at or to keep: `python -m mnist_seq.synthesise`."""

    data: Any = None
    split: str = "train"
    """train (distorted by data.augment), val or test."""
    scenes: int | None = None
    """How many; null takes 10,000 for a data set and 24 for a look."""
    seed: int = 0
    """Seed of the scenes."""
    output_dir: str | None = None
    """The folder of a data set: images, labels, card and checksums."""
    preview: Any = False
    """Draw a contact sheet: true for outputs/<preset>.png, or a picture's path."""

    def __post_init__(self) -> None:
        check_choice("split", self.split, ("train", "val", "test"))
        check(self.scenes is None or self.scenes >= 1, f"scenes={self.scenes} must be at least 1")
        check(0 <= self.seed < 2**31, f"seed={self.seed} must lie in 0..2147483647")
        check(
            bool(self.output_dir or self.preview),
            "nothing is asked for: give output_dir=DIR for a data set, or preview=true for a contact sheet",
        )
        check(
            not self.preview or self.preview is True or str(self.preview).lower().endswith((".png", ".pdf", ".svg")),
            f"preview={self.preview} is neither true nor a path that ends in .png, .pdf or .svg",
        )


SUITES = ("rendering", "dataloader", "train_step", "train_loop", "inference", "step_scaling", "startup", "serving")


@dataclass
class BenchConfig:
    """Timing: `python -m mnist_seq.bench`."""

    suite: Any = "all"
    """all, one, or several: suite=[rendering,inference]."""
    repeats: int = 30
    """Runs of each figure, after two to warm up."""
    batch_size: int = 128
    """Scenes rendered or taught at once."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    output_dir: str = "outputs/bench"
    """The folder for bench.json and step_scaling.png."""

    def __post_init__(self) -> None:
        self.suite = ",".join(self.suite) if isinstance(self.suite, list) else str(self.suite)
        for suite in self.suite.split(","):
            check_choice("suite", suite, ("all", *SUITES))
        check_choice("device", self.device, DEVICES)
        for key in ("repeats", "batch_size"):
            check(getattr(self, key) >= 1, f"{key}={getattr(self, key)} must be at least 1")

    @property
    def suites(self) -> list[str]:
        """Those that are asked for."""
        return list(SUITES) if "all" in self.suite.split(",") else self.suite.split(",")
