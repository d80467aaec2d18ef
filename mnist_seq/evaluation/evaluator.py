"""A model together with the scenes to evaluate it on: what `evaluate`, `report` and `compare` load."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from mnist_seq.config import DataConfig, EvaluateConfig, FolderConfig, LossConfig
from mnist_seq.config.override_syntax import format_value
from mnist_seq.config.serialization import data_from_dict, from_dict
from mnist_seq.config.validation import check
from mnist_seq.data.datasets import CorruptedDataset, DatasetSplits, load, spec
from mnist_seq.data.image_folder import SOURCE
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.data.trained_images import join_digests, select_trained
from mnist_seq.errors import UserError
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.inference import weights
from mnist_seq.inference.device import resolve_device
from mnist_seq.inference.platt_scaling import PlattScaling
from mnist_seq.nn.beam_search import beam_search
from mnist_seq.nn.decoding import AutoregressiveModel, DecodeOutput
from mnist_seq.nn.model import Model
from mnist_seq.run_dir import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluator:
    """A model, scenes, and the way to decode."""

    config: EvaluateConfig
    model: Model
    card: dict[str, Any]
    """The model card."""
    data: DataConfig
    datasets: DatasetSplits
    num_scenes: int

    @cached_property
    def scenes(self) -> SceneDataset:
        scenes = self.datasets.splits[self.config.split]
        return CorruptedDataset(scenes, self.config.corruptions) if self.config.corruptions.non_default else scenes

    def evaluate(self) -> EvalResult:
        """Evaluate the model on the scenes."""
        loss = from_dict(LossConfig, self.card["loss"]) if "loss" in self.card else None
        return evaluate_model(self.model, self.scenes, self.num_scenes, self.config.batch_size, loss, self.decode_fn)

    @property
    def decode_fn(self) -> Callable[[Tensor], DecodeOutput]:
        """The model's own decoding, or beam search where num_beams is above 1; with the confidences of a Reader."""
        config, model, scaling = self.config, self.model, PlattScaling.from_card(self.card)
        if config.num_beams == 1:
            return lambda images: scaling.rescore(model.read(images))
        assert isinstance(model, AutoregressiveModel)
        return lambda images: scaling.rescore(beam_search(model, images, config.num_beams).best)

    @property
    def train_scenes(self) -> SceneDataset | None:
        """The scenes that the model was trained on; None where it is evaluated on other data."""
        return self.datasets.splits.get("train") if self.config.data is None else None

    @property
    def notice(self) -> str:
        """A warning to show with the metrics: stand-in digits, or corruptions; else empty."""
        corruptions = ", ".join(f"{key}={value:g}" for key, value in self.config.corruptions.non_default.items())
        parts = [self.datasets.notice, corruptions and f"Corruptions applied to these scenes: {corruptions}."]
        return " ".join(filter(None, parts))

    @property
    def is_default_protocol(self) -> bool:
        """Whether the metrics belong in the run's metrics.json: own data, all scenes, clean, greedy decoding."""
        config = self.config
        all_own_scenes = config.data is None and config.scenes is None and not config.corruptions.non_default
        return all_own_scenes and config.num_beams == 1


def load_evaluator(config: EvaluateConfig, datasets: DatasetSplits | None = None) -> Evaluator:
    """Load a model and the scenes to evaluate it on.

    Args:
        config: names the model, the data, the split and the decoding.
        datasets: use these instead of loading them from the config.

    Raises:
        NotFoundError: there is no such model.
        UserError: the model cannot be evaluated on these scenes, or was trained on them.
    """
    run = str(config.run)
    model, card = weights.load(run, resolve_device(config.device), config.trust)
    check(
        config.num_beams == 1 or isinstance(model, AutoregressiveModel),
        f"num_beams={config.num_beams}: {run} is not autoregressive, use num_beams=1",
    )
    check(bool(config.data) or "data" in card, f"{run} has no record of its training data: give data=")
    data: DataConfig = config.data or data_from_dict(card["data"])
    if isinstance(data, FolderConfig):
        data = replace(data.for_model(model.spec), synthetic=None)  # only train is mixed: its digits need not be here
    _check_spec(run, model, data)
    datasets = datasets or load(data, Run(run).metrics.get("seed", 0))
    check(
        config.split != "val" or datasets.source not in card.get("trained_on_val", []),
        f"{run} was trained on the val digits too (data.pool=full): choose split=test",
    )
    available = [split for split in datasets.splits if split != "train"]
    check(
        config.split in available,
        f"split={config.split} is not in these data: choose from {', '.join(available) or 'other data'}",
    )
    if datasets.source == SOURCE:
        _check_not_trained_on(run, card, datasets.splits, config)
    max_scenes = len(datasets.splits[config.split])
    num_scenes = config.scenes or max_scenes
    check(
        data.family != "folder" or num_scenes <= max_scenes,
        f"scenes={num_scenes} is more than the {max_scenes} images of the folder: choose at most {max_scenes}, or null",
    )
    return Evaluator(config, model, card, data, datasets, num_scenes)


def _check_not_trained_on(
    run: str, card: dict[str, Any], splits: Mapping[str, SceneDataset], config: EvaluateConfig
) -> None:
    """Raise UserError if the model was trained on some of these images; warn if they are copies within its own data."""
    labels = splits[config.split].labels or []
    trained = select_trained(labels, card.get("trained_images", ""))
    if not trained:
        return
    message = (
        f"{run} was trained on {len(trained)} of these {len(labels)} {config.split} images, such as {trained[0].image}"
    )
    if config.data is None:
        train_labels = splits["train"].labels if "train" in splits else None
        in_train = select_trained(trained, join_digests(train_labels or []))
        check(
            len(in_train) == len(trained),
            f"{message}: its images or labels have changed, and with them the split: train anew, with a column split",
        )
        log.warning("%s: there are copies in train; remove them", message)
        return
    saved = card.get("data", {})
    way_out = "use other images"
    if saved.get("family") == "folder" and saved.get("pool") != "full":
        split = {f"data.{key}": saved[key] for key in ("split_seed", "val_fraction", "fold") if key in saved}
        split |= {"data.split_by": format_value(saved["split_by"])} if saved.get("split_by") else {}
        own = " ".join(f"{key}={'null' if value is None else value}" for key, value in split.items())
        way_out = f"use other images, or its own split: {own}"
    raise UserError(f"{message}: {way_out}")


def _check_spec(run: str, model: Model, data: DataConfig) -> None:
    """Raise UserError for scenes of another size, or with longer sequences, than the model was built for."""
    given, expected = spec(data), model.spec
    check(
        (given.height, given.width) == (expected.height, expected.width),
        f"data={data.family} has {given.height}x{given.width} scenes, but {run} "
        f"reads {expected.height}x{expected.width}: choose a data preset of that size",
    )
    check(
        given.max_length <= expected.max_length,
        f"data={data.family} has up to {given.max_length} digits, but {run} reads at most {expected.max_length}: "
        "train with data.max_length or data.max_digits at least that high",
    )
    check(
        model.output_type != "cells" or given.cells == expected.cells,
        f"{run} predicts a digit per cell of a {expected.cells[0]}x{expected.cells[1]} grid, but data={data.family} "
        + (f"has {given.cells[0]}x{given.cells[1]} cells" if any(given.cells) else "has no cells")
        + ": choose other data, or an autoregressive model (model=enc_dec)",
    )
