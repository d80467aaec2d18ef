"""Benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.field_types import Device, PositiveInt
from mnist_seq.config.renamed_keys import RENAMED_SUITES
from mnist_seq.config.serving import ServeConfig
from mnist_seq.config.trust import Trust
from mnist_seq.config.validation import Validated, check, check_choice

_TRAINING_SUITES = ("rendering", "dataloader", "train_step", "step_profile", "train_loop")
SPEED_SUITES = (*_TRAINING_SUITES, "inference", "step_scaling", "startup", "serving")
"""The suites of `suite=all`."""
SUITES = (*SPEED_SUITES, "contention", "page", "record", "ocr")


@dataclass
class BenchConfig(Validated):
    """Measure speed, and compare with other OCR: `python -m mnist_seq.bench`."""

    suite: Any = "all"
    """Suites to run: one, several, as suite=[rendering,inference], or `all`, which is all but `contention`, `page`,
    `record` and `ocr`."""
    images: str | None = None
    """Pictures that `suite=ocr` reads: a folder with labels.jsonl or labels.csv."""
    run: str = ServeConfig.run
    """Model that `suite=ocr` and `suite=page` take: pretrained:NAME, a run directory, a checkpoint or weights; `latest`
    means the newest finished run under outputs/."""
    record: str = "grid_speedrun"
    """Experiment whose time to accuracy `suite=record` measures: grid_speedrun or single_speedrun."""
    challenger: list[str] = field(default_factory=list)
    """Overrides that turn the record into its challenger, each in quotes, as 'challenger=["optim.lr=5e-3"]';
    `suite=record` trains both in alternating order."""
    trust: Trust = None
    """Allow code outside the package that a saved model names: true for any, or the name of a module."""
    repeats: PositiveInt = 30
    """Timed runs of each measurement, after warm-up runs. Some suites take fewer: `step_profile` ten at most, `ocr` one
    per picture; `record` always trains five seeds."""
    batch_size: PositiveInt = 128
    """Scenes per batch, in rendering and training."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps; `suite=ocr` always takes the CPU, and `suite=record` the device of
    its experiment."""
    output_dir: str = "outputs/bench"
    """Folder for bench.json, step_scaling.png and the runs of `suite=record`; by default a new one under
    outputs/bench."""

    def __post_init__(self) -> None:
        self.suite = ",".join(self.suite) if isinstance(self.suite, list) else str(self.suite)
        for suite in self.suite.split(","):
            check(suite not in RENAMED_SUITES, f"suite={suite} is now suite={RENAMED_SUITES.get(suite)}")
            check_choice("suite", suite, ("all", *SUITES))
        super().__post_init__()
        if "ocr" in self.suites:
            check(bool(self.images), "suite=ocr needs images=DIR, a folder with labels.jsonl or labels.csv")
        else:
            check(self.images is None, f"images={self.images} is read by suite=ocr alone: add it, or leave images out")
        message = f"challenger={self.challenger} is read by suite=record alone: add it, or leave challenger out"
        check("record" in self.suites or not self.challenger, message)

    @property
    def suites(self) -> list[str]:
        """The names of the suites to run."""
        names = self.suite.split(",")
        return [name for name in SUITES if name in names or ("all" in names and name in SPEED_SUITES)]
