"""A reader before the scenes that it is to read: what `evaluate`, `report` and `compare` are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnist_seq.config import DataConfig, EvaluateConfig, LossConfig
from mnist_seq.config.serialization import data_from_dict, from_dict
from mnist_seq.config.validation import check
from mnist_seq.data.datasets import CorruptedDataset, DatasetSplits, SceneDataset, load, spec
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.inference import weights
from mnist_seq.nn import decoding
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.model import Model
from mnist_seq.run_dir import Run
from mnist_seq.training import hardware

if TYPE_CHECKING:
    from mnist_seq.reporting.report import ReportInput


@dataclass(frozen=True)
class Evaluator:
    """A reader, scenes, and how they are to be read."""

    config: EvaluateConfig
    model: Model
    card: dict[str, Any]
    """What is said of the weights."""
    data: DataConfig
    datasets: DatasetSplits
    num_scenes: int
    """Of scenes."""

    @cached_property
    def scenes(self) -> SceneDataset:
        scenes = self.datasets.splits[self.config.split]
        return CorruptedDataset(scenes, self.config.corruption) if self.config.corruption.non_default else scenes

    def evaluate(self) -> EvalResult:
        """Read and judge."""
        loss = from_dict(LossConfig, self.card["loss"]) if "loss" in self.card else None
        return evaluate_model(self.model, self.scenes, self.num_scenes, self.config.batch_size, loss, self.decode_fn)

    @property
    def decode_fn(self) -> Callable[[Tensor], DecodeOutput]:
        """The model's own way of reading, or the one that is asked for."""
        config, writer = self.config, self.model
        if config.num_beams == 1:
            return writer.read
        assert isinstance(writer, decoding.AutoregressiveModel)
        return lambda images: decoding.beam_search(writer, images, config.num_beams).best

    @property
    def train_scenes(self) -> SceneDataset | None:
        """What the model learnt from, where its own data are at hand."""
        return self.datasets.splits.get("train") if self.config.data is None else None

    @property
    def subject(self) -> ReportInput:
        """Whom its report is about."""
        from mnist_seq.reporting.report import ReportInput

        run = Run(str(self.config.run))
        return ReportInput(
            name=str(run.path),
            model=self.model,
            card=self.card,
            scenes=self.scenes,
            digit_source=self.datasets.source,
            notice=self.notice,
            train_scenes=self.train_scenes,
            run=run if run.exists else None,
        )

    @property
    def notice(self) -> str:
        """What whoever sees the figures must be told."""
        done = ", ".join(f"{key}={value:g}" for key, value in self.config.corruption.non_default.items())
        return " ".join(filter(None, [self.datasets.notice, done and f"These scenes were disturbed: {done}."]))

    @property
    def is_default_protocol(self) -> bool:
        """Whether runs are judged so: on their own data, all of it and undisturbed, in their own way."""
        config = self.config
        whole = config.data is None and config.scenes is None and not config.corruption.non_default
        return whole and config.num_beams == 1


def load_evaluator(config: EvaluateConfig, datasets: DatasetSplits | None = None) -> Evaluator:
    """Open what is to be judged: the weights that count.

    Args:
        loaded: the scenes, where they are at hand.

    Raises:
        FileNotFoundError, ValueError: nothing to load, or scenes that the model cannot read.
    """
    run = str(config.run)
    model, card = weights.load(run, hardware.resolve_device(config.device), config.trust)
    check(
        config.num_beams == 1 or isinstance(model, decoding.AutoregressiveModel),
        f"num_beams={config.num_beams}: {run} is not autoregressive, use num_beams=1",
    )
    check(bool(config.data) or "data" in card, f"{run} does not say what it was trained on: give data=")
    data: DataConfig = config.data or data_from_dict(card["data"])
    _check_spec(run, model, data)
    datasets = datasets or load(data, Run(run).metrics.get("seed", 0))
    check(
        config.split != "val" or datasets.source not in card.get("trained_on_val", []),
        f"{run} was trained on the val digits too (data.pool=full): choose split=test",
    )
    there = [split for split in datasets.splits if split != "train"]
    check(
        config.split in there, f"split={config.split} is not in these data: choose from {', '.join(there) or 'others'}"
    )
    most = len(datasets.splits[config.split])
    number = config.scenes or most
    check(
        data.family != "folder" or number <= most,
        f"scenes={number} of a folder with {most}: choose at most those, or null",
    )
    return Evaluator(config, model, card, data, datasets, number)


def _check_spec(run: str, model: Model, data: DataConfig) -> None:
    """Raises ValueError for scenes of a size, or with sequences of a length, that the model was not built for."""
    shown, known = spec(data), model.spec
    check(
        (shown.height, shown.width) == (known.height, known.width),
        f"data={data.family} shows {shown.height}x{shown.width} scenes, but {run} "
        f"reads {known.height}x{known.width}: choose a data preset of that size",
    )
    check(
        shown.max_length <= known.max_length,
        f"data={data.family} shows up to {shown.max_length} digits, but {run} writes at most {known.max_length}: "
        "train with data.max_length or data.max_digits as high",
    )
    check(
        model.output_type != "cells" or shown.cells == known.cells,
        f"{run} reads a digit a cell, {known.cells[0]}x{known.cells[1]} of them, and data={data.family} "
        + (f"has {shown.cells[0]}x{shown.cells[1]}" if any(shown.cells) else "tells of no cells")
        + ": choose other data, or a model that writes (model=enc_dec)",
    )
