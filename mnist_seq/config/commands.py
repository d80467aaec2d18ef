"""The commands, and the keys of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from mnist_seq.config.bench import BenchConfig
from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.field_types import Device, PositiveInt, Seed, Split, one_of
from mnist_seq.config.model import CustomConfig
from mnist_seq.config.results import ResultsConfig
from mnist_seq.config.serving import ServeConfig
from mnist_seq.config.sweeps import SearchConfig
from mnist_seq.config.training import LossConfig, OptimConfig, TrainerConfig
from mnist_seq.config.trust import Trust
from mnist_seq.config.validation import Validated, check


@dataclass
class TrainConfig(Validated):
    """Train a model: `python -m mnist_seq.train`."""

    model: Any = None
    """Architecture: a preset of `model`, and its keys."""
    data: Any = None
    """Scenes: a preset of `data`, and its keys."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer and learning rate schedule: a preset of `optim`, and its keys."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Training loss: a preset of `loss`, and its keys."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Length, device and precision of training: a preset of `trainer`, and its keys."""
    logger: Any = None
    """Loggers besides metrics.csv: presets of `logger`, or a dict of name -> `_target_`."""
    callbacks: Any = None
    """Lightning callbacks: presets of `callbacks`, or a dict of name -> `_target_`."""
    seed: Seed = 0
    """Seed of weights, training scenes and dropout, 0..2147483647."""
    report: Any = "auto"
    """Write report.html at the end: true, false, or `auto`, which is false for jobs of a sweep."""
    init_from: str | None = None
    """Initial weights: a run directory, a checkpoint, weights or pretrained:NAME. Parameters whose name and shape match
    are loaded."""
    resume: str | None = None
    """Run directory, or its last.ckpt, to resume; `latest` means the newest unfinished run under outputs/. Only
    trainer.max_steps, trainer.threads, test, logger and, where images have moved, data.from may change."""
    trust: Trust = None
    """Allow code outside the package that the resumed run names: true for any, or the name of a module."""
    test: bool = False
    """Evaluate on the test split too at the end, as `evaluate split=test` does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.report in (True, False, "auto"), f"report={self.report} must be true, false or auto")
        if isinstance(self.model, dict):
            self.model = CustomConfig.from_dict(self.model)


@dataclass
class EvaluateConfig(Validated):
    """Evaluate a model: `python -m mnist_seq.evaluate`."""

    run: str | None = None
    """Model to evaluate: a run directory, a checkpoint, weights or pretrained:NAME; null or `latest` means the newest
    finished run under outputs/."""
    data: Any = None
    """Scenes to evaluate on: a preset of `data`; null means those that the model was trained on."""
    split: Split = "val"
    """Split: val or test."""
    scenes: PositiveInt | None = None
    """Number of scenes; null means data.val_scenes for val and 10,000 for test."""
    batch_size: PositiveInt = 512
    """Scenes per batch."""
    num_beams: PositiveInt = 1
    """Beams of beam search; 1 decodes greedily."""
    corruptions: CorruptionConfig = field(default_factory=CorruptionConfig)
    """Corruption of the scenes; none by default."""
    trust: Trust = None
    """Allow code outside the package that a saved model names: true for any, or the name of a module."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    output_dir: str | None = None
    """Folder for evaluation.json, scenes.csv and report.html; null means one in the run directory."""
    report: bool = True
    """Write report.html."""


@dataclass
class ReportConfig(Validated):
    """Write the report of a run: `python -m mnist_seq.report`."""

    run: str | None = None
    """Model to report on: a run directory, a checkpoint, weights or pretrained:NAME; null or `latest` means the newest
    finished run under outputs/."""
    split: Split = "val"
    """Split that it is evaluated on: val or test."""
    output: str | None = None
    """Path of the report, ending in .html; null means report.html in the run directory."""
    trust: Trust = None
    """Allow code outside the package that a saved model names: true for any, or the name of a module."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.output is None or self.output.endswith(".html"), f"output={self.output} must end in .html")


@dataclass
class CompareConfig(Validated):
    """Compare models on the same scenes: `python -m mnist_seq.compare`."""

    runs: list[str] = field(default_factory=list)
    """Models to compare: run directories, weights or pretrained:NAME; a folder of runs or a pattern with * for the
    seeds of one recipe; or one sweep."""
    data: Any = None
    """Scenes to compare on: a preset of `data`; null means those that the first model was trained on."""
    split: Split = "val"
    """Split: val or test."""
    scenes: PositiveInt | None = None
    """Number of scenes; null means data.val_scenes for val and 10,000 for test."""
    batch_size: PositiveInt = 512
    """Scenes per batch."""
    trust: Trust = None
    """Allow code outside the package that a saved model names: true for any, or the name of a module."""
    device: Device = "auto"
    """Device: auto, cpu, cuda or mps."""
    output_dir: str | None = None
    """Folder for comparison.json and comparison.html; null means a new one under
    outputs/comparisons or, for a sweep (comparison.html only), the sweep's own folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.runs = [run.rstrip("/") or "/" for run in self.runs]
        check(len(set(self.runs)) == len(self.runs), f"runs=[{','.join(self.runs)}] lists a run twice: leave one out")
        way_out = "name two runs or more, runs=[A,B], or the folder of a sweep, runs=[DIR]"
        check(bool(self.runs), f"runs=[] is empty: {way_out}")

    def evaluate_config(self, run: str) -> EvaluateConfig:
        """The config that evaluates one of the models."""
        shared = {key: value for key, value in vars(self).items() if key not in ("runs", "output_dir")}
        return EvaluateConfig(run=run, **shared)


FORMATS = ("weights", "onnx", "page")


@dataclass
class ExportConfig(Validated):
    """Export a model: `python -m mnist_seq.export`."""

    run: Any = None
    """Model to export: a run directory, a checkpoint, weights or pretrained:NAME; null or `latest` means the newest
    finished run under outputs/. format=page accepts several: run=[pretrained:line,pretrained:grid]."""
    format: Annotated[str, one_of(FORMATS)] = "weights"
    """`weights`: 16-bit safetensors and a model card; `onnx`: one ONNX graph, preprocessing included; `page`: one HTML
    file that reads in a browser, without a server."""
    name: str | None = None
    """Name of the exported model; null means that of its card, or else the family of its scenes."""
    output_dir: str | None = None
    """Parent folder of the exported folder NAME or, for a page, of NAME.html; null means outputs/exported."""
    seed_runs: list[str] = field(default_factory=list)
    """Runs of the same recipe with other seeds, evaluated on test, whose scores the card lists too."""
    calibrate_on: str | None = None
    """Folder of labelled pictures: the confidence is calibrated on those that the model was not trained on, by Platt
    scaling."""
    trust: Trust = None
    """Allow code outside the package that a saved model names: true for any, or the name of a module."""

    def __post_init__(self) -> None:
        super().__post_init__()
        several = isinstance(self.run, list)
        check(
            not several or (self.format == "page" and len(self.run) == len(set(self.run)) > 0),
            f"run={self.run}: only format=page accepts several models, each once",
        )
        check(
            self.format != "page" or not (self.seed_runs or self.calibrate_on),
            "format=page ignores seed_runs and calibrate_on: export weights with them, then the page from the result",
        )
        if self.name is not None:
            self.check_name(self.name)

    @staticmethod
    def check_name(name: str) -> None:
        """Raise UserError unless a name can be that of a folder."""
        valid = re.fullmatch(r"\w[\w.-]*", name)
        check(bool(valid), f"name={name} must be letters, digits, _, - and dots: it names a folder")


@dataclass
class SynthesiseConfig(Validated):
    """Write a dataset, or draw scenes: `python -m mnist_seq.synthesise`."""

    data: Any = None
    """Scenes: a preset of `data`, and its keys."""
    split: Annotated[str, one_of(("train", "val", "test"))] = "train"
    """Split: train (changed by data.augment and data.corruptions), val or test."""
    scenes: PositiveInt | None = None
    """Number of scenes; null means 10,000 for a dataset and 24 for a preview."""
    seed: Seed = 0
    """Seed of the scenes, 0..2147483647."""
    output_dir: str | None = None
    """Folder for a dataset: images, labels, card and checksums."""
    preview: Any = False
    """Draw a contact sheet: true for outputs/<preset>.png, or a path that ends in .png, .pdf or .svg."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            bool(self.output_dir or self.preview),
            "nothing to do: give output_dir=DIR for a dataset, or preview=true for a contact sheet",
        )
        check(
            not self.preview or self.preview is True or str(self.preview).lower().endswith((".png", ".pdf", ".svg")),
            f"preview={self.preview} is neither true nor a path that ends in .png, .pdf or .svg",
        )


class Command(NamedTuple):
    """A command: its keys, and what its config starts from. A command without a schema reads argv by itself."""

    schema: type[Any] | None = None
    groups: Mapping[str, str | None] = MappingProxyType({})
    """Config group -> the preset chosen by default, or None."""
    values: Mapping[str, Any] = MappingProxyType({})
    """Defaults that OmegaConf resolves."""


COMMANDS: dict[str, Command] = {
    "train": Command(TrainConfig),
    "evaluate": Command(EvaluateConfig, {"data": None}),
    "compare": Command(CompareConfig, {"data": None}),
    "report": Command(ReportConfig),
    "describe": Command(TrainConfig),
    "synthesise": Command(SynthesiseConfig, {"data": "grid"}),
    "search": Command(SearchConfig, {"search": "grid_small"}),
    "read": Command(),
    "export": Command(ExportConfig),
    "serve": Command(ServeConfig, values={"token": "${oc.env:MNIST_SEQ_TOKEN,null}"}),
    "bench": Command(
        BenchConfig,
        values={"output_dir": "outputs/bench/${now:%Y-%m-%d_%H-%M-%S}", "hydra": {"run": {"dir": "${output_dir}"}}},
    ),
    "results": Command(ResultsConfig),
}
"""Name -> command, in the order of `mnist-seq --help`. Each has a module `mnist_seq/<name>.py`."""
