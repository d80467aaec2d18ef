"""A reader before the scenes that it is to read: what `evaluate`, `report` and `compare` are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnist_seq.config import DataConfig, EvaluateConfig, LossConfig
from mnist_seq.config.law import require
from mnist_seq.data import sets
from mnist_seq.data.disturb import Disturbed
from mnist_seq.data.sets import SceneSet, Sets
from mnist_seq.judging.judgement import Judgement
from mnist_seq.learn import machine
from mnist_seq.learn.judge import judge
from mnist_seq.nn import decoding
from mnist_seq.nn.decoding import Readout
from mnist_seq.nn.model import Model
from mnist_seq.plain import restore, restore_data
from mnist_seq.run import Run
from mnist_seq.use import weights

if TYPE_CHECKING:
    from mnist_seq.figures.report import Subject


@dataclass(frozen=True)
class Exam:
    """A reader, scenes, and how they are to be read."""

    config: EvaluateConfig
    model: Model
    card: dict[str, Any]
    """What is said of the weights."""
    data: DataConfig
    sets: Sets
    number: int
    """Of scenes."""

    @cached_property
    def scenes(self) -> SceneSet:
        scenes = self.sets.splits[self.config.split]
        return Disturbed(scenes, self.config.disturb) if self.config.disturb.chosen else scenes

    def judge(self) -> Judgement:
        """Read and judge."""
        loss = restore(LossConfig, self.card["loss"]) if "loss" in self.card else None
        return judge(self.model, self.scenes, self.number, self.config.batch_size, loss, self.read)

    @property
    def read(self) -> Callable[[Tensor], Readout]:
        """The model's own way of reading, or the one that is asked for."""
        config, writer = self.config, self.model
        if config.beams == 1 and config.constrain:
            return writer.read
        assert isinstance(writer, decoding.Writer)
        if config.beams == 1:
            return lambda images: decoding.greedy(writer, images, config.constrain)
        return lambda images: decoding.beam(writer, images, config.beams, constrain=config.constrain).best

    @property
    def taught(self) -> SceneSet | None:
        """What the model learnt from, where its own data are at hand."""
        return self.sets.splits.get("train") if self.config.data is None else None

    @property
    def subject(self) -> Subject:
        """Whom its report is about."""
        from mnist_seq.figures.report import Subject

        run = Run(str(self.config.run))
        return Subject(
            name=str(run.path),
            model=self.model,
            card=self.card,
            scenes=self.scenes,
            source=self.sets.source,
            notice=self.notice,
            taught=self.taught,
            run=run if run.exists else None,
        )

    @property
    def notice(self) -> str:
        """What whoever sees the figures must be told."""
        done = ", ".join(f"{key}={value:g}" for key, value in self.config.disturb.chosen.items())
        return " ".join(filter(None, [self.sets.notice, done and f"These scenes were disturbed: {done}."]))

    @property
    def usual(self) -> bool:
        """Whether runs are judged so: on their own data, all of it and undisturbed, in their own way."""
        config = self.config
        whole = config.data is None and config.scenes is None and not config.disturb.chosen
        return whole and config.beams == 1 and config.constrain


def exam(config: EvaluateConfig, loaded: Sets | None = None) -> Exam:
    """Open what is to be judged: the weights that count.

    Args:
        loaded: the scenes, where they are at hand.

    Raises:
        FileNotFoundError, ValueError: nothing to load, or scenes that the model cannot read.
    """
    run = str(config.run)
    model, card = weights.load(run, machine.device(config.device), config.trust)
    require(
        (config.beams == 1 and config.constrain) or isinstance(model, decoding.Writer),
        f"beams={config.beams} constrain={config.constrain}: {run} writes no tokens, leave both",
    )
    require(bool(config.data) or "data" in card, f"{run} does not say what it was trained on: give data=")
    data: DataConfig = config.data or restore_data(card["data"])
    _refuse_another_problem(run, model, data)
    loaded = loaded or sets.load(data, Run(run).metrics.get("seed", 0))
    require(
        config.split != "val" or loaded.source not in card.get("learnt_val", []),
        f"{run} was trained on the val digits too (data.pool=full): choose split=test",
    )
    there = [split for split in loaded.splits if split != "train"]
    require(
        config.split in there, f"split={config.split} is not in these data: choose from {', '.join(there) or 'others'}"
    )
    most = len(loaded.splits[config.split])
    number = config.scenes or most
    require(
        data.family != "folder" or number <= most,
        f"scenes={number} of a folder with {most}: choose at most those, or null",
    )
    return Exam(config, model, card, data, loaded, number)


def _refuse_another_problem(run: str, model: Model, data: DataConfig) -> None:
    """Raises ValueError for scenes of a size, or with sequences of a length, that the model was not built for."""
    shown, known = sets.spec(data), model.spec
    require(
        (shown.height, shown.width) == (known.height, known.width),
        f"data={data.family} shows {shown.height}x{shown.width} scenes, but {run} "
        f"reads {known.height}x{known.width}: choose a data preset of that size",
    )
    require(
        shown.max_digits <= known.max_digits,
        f"data={data.family} shows up to {shown.max_digits} digits, but {run} writes at most {known.max_digits}: "
        "train with data.longest or data.max_digits as high",
    )
    require(
        model.reads != "cells" or shown.cells == known.cells,
        f"{run} reads a digit a cell, {known.cells[0]}x{known.cells[1]} of them, and data={data.family} "
        + (f"has {shown.cells[0]}x{shown.cells[1]}" if any(shown.cells) else "tells of no cells")
        + ": choose other data, or a model that writes (model=enc_dec)",
    )
