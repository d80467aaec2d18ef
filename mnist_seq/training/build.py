"""The parts of a run, built from its config: the module, the data, and a record of what the weights were trained on."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_seq import nn
from mnist_seq.config import DataConfig, FolderConfig, TrainConfig
from mnist_seq.config.validation import check
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.data.image_folder import SOURCE
from mnist_seq.data.labels import Label
from mnist_seq.data.mixture_dataset import MixtureDataset
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.data.trained_images import hash_labels, join_digests, select_trained
from mnist_seq.errors import UserError
from mnist_seq.inference.init_from import load_matching
from mnist_seq.run_dir import Run
from mnist_seq.training import torch_settings
from mnist_seq.training.module import ReaderModule

_TRAIN_LABELS = "train_labels"
"""Metric: hash of the labels of the training images, see `hash_labels`."""


def build_module_and_data(config: TrainConfig) -> tuple[ReaderModule, SceneDataModule]:
    """Build the module and the data of a run, with its seed.

    Raises:
        UserError: digits or images cannot be loaded, or `init_from` names no model or one that was trained on val.
    """
    torch_settings.seed_all(config.seed)
    data = SceneDataModule(config.data, config.seed)
    model = nn.build(config.model, data.spec)
    data.setup()
    for split in ("train", "val", *(["test"] if config.test else [])):
        if folder := _folder(data, split):
            folder[:1]  # reads all images, so that a damaged one ends the run before it begins
    module = ReaderModule(model, config.optim, config.loss)
    trained_on_val = {data.source} if data.train_includes_val and data.source != SOURCE else set()
    trained_images = join_digests(_own_images(data, "train"))
    if config.init_from:
        report = module.init_report = load_matching(model, config.init_from)
        check(
            "val" not in data.datasets or data.source not in report.trained_on_val,
            f"init_from={config.init_from} was trained on the val digits too (data.pool=full): "
            "choose data.pool=full, or a model that was not",
        )
        for split in ("val", "test"):
            images = _own_images(data, split)
            if trained := select_trained(images, report.trained_images):
                raise UserError(
                    f"init_from={config.init_from} was trained on {len(trained)} of {len(images)} {split} images, such "
                    f"as {trained[0].image}: choose its own split, data.pool=full or another model, or remove copies"
                )
        trained_on_val |= set(report.trained_on_val)
        trained_images = join_digests([], trained_images, report.trained_images)
    module.trained_on = {"trained_on_val": sorted(trained_on_val), "trained_images": trained_images}
    return module, data


def resolve_digits(config: DataConfig, data: SceneDataModule) -> None:
    """Replace `digits=auto` by the source that was found, in place: a resumed run takes no other."""
    config.digits = data.source
    train = data.datasets["train"]
    if isinstance(config, FolderConfig) and isinstance(train, MixtureDataset):
        config.synthetic.digits = vars(train.synthetic)["config"].digits


def _folder(data: SceneDataModule, split: str) -> SceneDataset | None:
    """Return the images on disk of a split, without the synthetic scenes that are mixed in."""
    dataset = data.datasets.get(split)
    if isinstance(dataset, MixtureDataset):
        dataset = dataset.folder
    return dataset if dataset and dataset.labels else None


def _own_images(data: SceneDataModule, split: str) -> Sequence[Label]:
    """Return the labels of a user's own images; none for scenes, whose digits are in one split by their index."""
    folder = _folder(data, split)
    return folder.labels or [] if folder and data.source == SOURCE else []


def record_labels(run: Run, data: SceneDataModule) -> None:
    """Record the labels of a user's own training images in a new run; check those of a resumed one.

    Raises:
        UserError: images were added, removed, renamed or labelled otherwise since the run began.
    """
    labels = _own_images(data, "train")
    if not labels:
        return
    digest, path = hash_labels(labels), vars(data.config)["path"]
    check(
        run.metrics.get(_TRAIN_LABELS, digest) == digest,
        f"{path} has changed since {run.path} began: restore its images and labels, or start a new run with "
        f"init_from={run.path}",
    )
    run.update_metrics(**{_TRAIN_LABELS: digest})
