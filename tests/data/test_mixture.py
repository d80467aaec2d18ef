"""Synthetic scenes in place of a part of the images of a folder: pure functions of the id, in training alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mnist_seq
from mnist_seq import vocabulary
from mnist_seq.compose_config import compose_training
from mnist_seq.config import EvaluateConfig, FolderConfig
from mnist_seq.config.serialization import data_from_dict, to_dict
from mnist_seq.data import datasets
from mnist_seq.data.mixture_dataset import MixtureDataset
from mnist_seq.errors import UserError
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.training.build import build_module_and_data, resolve_digits
from tests.conftest import TINY
from tests.data.preset_configs import preset
from tests.data.test_image_folder import BOXES, draw_line, write_pictures

SYNTHETIC = preset("string")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "mine", [draw_line((100, 200), BOXES)] * 12)


def train_split(path: Path, seed: int = 0, **values: Any) -> MixtureDataset:
    train = datasets.load(FolderConfig(path=str(path), synthetic=SYNTHETIC, **values), seed).splits["train"]
    assert isinstance(train, MixtureDataset)
    return train


def test_fraction_of_the_training_scenes_is_synthetic_and_no_other_split_is_mixed(folder: Path) -> None:
    train, num = train_split(folder, synthetic_fraction=0.3), 1000
    batch = train.render(list(range(num)))
    assert 0.25 < (batch.sources >= 0).any(1).sum() / num < 0.35
    real = batch.images[(batch.sources < 0).all(1)]
    assert len(real.flatten(1).unique(dim=0)) == 1, "these images are alike"
    loaded = datasets.load(FolderConfig(path=str(folder), synthetic=SYNTHETIC)).splits
    assert not isinstance(loaded["val"], MixtureDataset)
    for fraction in (0, 1):
        sources = train_split(folder, synthetic_fraction=fraction).render(list(range(50))).sources
        assert bool((sources >= 0).any()) == bool(fraction)


@pytest.mark.parametrize("fraction", [0, 0.5, 1])
def test_a_batch_may_have_no_image_or_no_synthetic_scene(folder: Path, fraction: float) -> None:
    """With all augmentations and corruptions of fine-tuning, some of which need at least one scene."""
    overrides = ["experiment=finetune", f"data.from={folder}", f"data.synthetic_fraction={fraction}"]
    data = compose_training([*overrides, "data.synthetic.digits=uci"]).data
    train = datasets.load(data).splits["train"]
    batch = train.render(list(range(16)))
    for index in range(16):
        assert torch.equal(train.render([index]).digits[0], batch.digits[index])


def test_evaluating_on_the_images_needs_no_digits_of_the_mixture(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["data@data.synthetic=string", "data.synthetic.digits=uci", *TINY, "report=false"]
    mnist_seq.fit(f"data.from={folder}", *overrides, f"hydra.run.dir={tmp_path / 'run'}")
    monkeypatch.setattr(datasets.sources, "load", lambda *_: pytest.fail("digits were loaded"))
    evaluator = load_evaluator(EvaluateConfig(run=str(tmp_path / "run")))
    assert evaluator.evaluate().summary()["scenes"] == evaluator.num_scenes == 2


def test_mixed_scene_is_the_same_alone_and_in_a_batch_and_depends_on_the_seed(folder: Path) -> None:
    train = train_split(folder)
    batch = train.render(list(range(40)))
    for field, tensor in zip(batch._fields, batch, strict=True):
        assert torch.equal(getattr(train.render([7]), field), tensor[[7]]), field
        assert torch.equal(getattr(train.render([20, 3]), field), tensor[[20, 3]]), field
    other = train_split(folder, seed=1).render(list(range(40)))
    synthetic = [(it.sources >= 0).any(1) for it in (batch, other)]
    assert not torch.equal(*synthetic), "others are synthetic"
    both = synthetic[0] & synthetic[1]
    assert not torch.equal(other.sources[both], batch.sources[both]), "and they are others"


def test_canvas_and_longest_sequence_are_those_of_the_synthetic_scenes_unless_labels_are_longer(folder: Path) -> None:
    spec = train_split(folder).spec
    assert (spec.height, spec.width, spec.max_length) == (32, 224, SYNTHETIC.spec.max_length)
    (folder / "labels.jsonl").write_text('{"image": "0.png", "digits": "012345678901"}\n' * 2)
    train = train_split(folder, pool="full")
    batch = train.render(list(range(20)))
    assert batch.digits.shape == (20, 12)
    assert torch.equal(batch.tokens, vocabulary.encode(batch.digits))
    assert batch.boxes.shape == (20, 12, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"height": 64, "width": 64}, "data.synthetic=string has height=32, but .*mine has 64: set the keys of both"),
        ({"max_length": 2}, "data.synthetic=string has max_length=8, but .*mine has 2"),
    ],
)
def test_synthetic_scenes_of_another_shape_raise(folder: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_split(folder, **values)


@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        (FolderConfig(path="somewhere"), "data.synthetic=folder is not drawn: choose a scene family"),
        ("string", "data.synthetic=string is not drawn"),
        (preset("string", "data.batch_size=3"), "data.synthetic.batch_size=3 has no effect: leave it out"),
        (preset("string", "data.pool=full"), "data.synthetic.pool=full has no effect"),
    ],
)
def test_synthetic_configs_without_effect_raise(synthetic: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FolderConfig(path="somewhere", synthetic=synthetic)


def test_mixture_is_chosen_by_a_preset_and_saved_with_the_run(folder: Path) -> None:
    config = mnist_seq.compose(f"data.from={folder}", "data@data.synthetic=string", "data.synthetic.max_digits=3").data
    assert (config.synthetic.family, config.synthetic.max_digits) == ("string", 3)
    assert data_from_dict(to_dict(config)) == config


def test_run_records_which_digits_the_mixture_shows(folder: Path) -> None:
    config = mnist_seq.compose(f"data.from={folder}", "data@data.synthetic=string")
    assert config.data.synthetic.digits == "auto"
    found = datasets.load(config.data.synthetic).source
    _, data = build_module_and_data(config)
    resolve_digits(config.data, data)
    assert config.data.synthetic.digits == found != "auto"
    assert data_from_dict(to_dict(config.data)) == config.data


def test_finetune_mixes_lines_into_augmented_and_corrupted_pictures(folder: Path) -> None:
    data = mnist_seq.compose("experiment=finetune", f"data.from={folder}").data
    assert data.synthetic == mnist_seq.compose("data=line").data
    assert data.augment.changes_digits
    assert data.corruptions.non_default
