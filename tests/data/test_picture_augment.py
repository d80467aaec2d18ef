"""Whole pictures are augmented and corrupted in training alone, as a function of (seed, split, id)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_seq.config import AugmentConfig, CorruptionConfig, FolderConfig
from mnist_seq.data import datasets
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.data.digits import MNIST_SIZE, ink_boxes
from mnist_seq.data.picture_augment import augment_pictures
from mnist_seq.data.render import SceneBatch
from tests.data.test_image_folder import BOXES, draw_line, load_folder, write_pictures

AUGMENTED = {"augment": AugmentConfig(rotation=3, shear=10, elastic=2, stroke=0.5)}
CORRUPTED = {"corruptions": CorruptionConfig(random=True, crop=0.5, noise=0.1, level=True)}


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Ten pictures of two bars, at different places."""
    moved = [[[x0 + 3 * index, y0, x1 + 3 * index, y1] for x0, y0, x1, y1 in BOXES] for index in range(10)]
    pictures = [draw_line((100, 200), boxes) for boxes in moved]
    return write_pictures(tmp_path / "bars", pictures, digits=[[1, 2]] * 10, boxes=moved)


@pytest.mark.parametrize("values", [AUGMENTED, CORRUPTED, AUGMENTED | CORRUPTED], ids=["augment", "corrupt", "both"])
def test_train_pictures_are_changed_by_their_ids_and_others_are_not(bars: Path, values: dict[str, Any]) -> None:
    plain, changed = load_folder(bars, height=32, width=96), load_folder(bars, height=32, width=96, **values)
    assert torch.equal(plain["val"][:].images, changed["val"][:].images)
    train, length = changed["train"], len(changed["train"])
    first, second = train.render([1, 3]), train.render([1 + length, 3 + length])
    assert torch.equal(train.render([3]).images, first.images[1:])
    for batch in (first, second):
        assert ((batch.images != plain["train"].render([1, 3]).images).flatten(1).any(1)).all()
        assert batch.digits.tolist() == [[1, 2]] * 2
    assert ((first.images != second.images).flatten(1).any(1)).all()
    other_seed = datasets.load_folder(FolderConfig(path=str(bars), height=32, width=96, **values), seed=1)["train"]
    assert not torch.equal(other_seed.render([1]).images, first.images[:1])


def test_boxes_of_corrupted_pictures_cover_the_ink_and_those_of_augmented_ones_are_unknown(bars: Path) -> None:
    cropped = load_folder(bars, height=32, width=96, corruptions=CorruptionConfig(random=True, crop=0.5))["train"]
    batch = cropped[:]
    assert (batch.boxes[..., 2:] > batch.boxes[..., :2]).all()
    for image, boxes in zip(batch.images[:, 0] > 127, batch.boxes.tolist(), strict=True):
        for x0, y0, x1, y1 in boxes:
            image[y0 - (y0 > 0) : y1 + 1, x0 - (x0 > 0) : x1 + 1] = False
        assert not image.any()
    augmented = load_folder(bars, height=32, width=96, **(AUGMENTED | CORRUPTED))["train"]
    assert not augmented[:].boxes.any()


def test_crop_takes_the_box_of_the_ink_where_no_boxes_are_known(bars: Path) -> None:
    rows = [json.loads(row) | {"boxes": []} for row in (bars / "labels.jsonl").read_text().splitlines()]
    values = {"height": 32, "width": 96, "corruptions": CorruptionConfig(random=True, crop=0.5)}
    known = load_folder(bars, **values)["train"][:]
    (bars / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    unknown = load_folder(bars, **values)["train"][:]
    assert (unknown.images.float() - known.images.float()).abs().mean() < 3
    assert not unknown.boxes.any()


def test_crop_goes_by_the_writing_and_not_by_paper_and_print() -> None:
    """On a levelled photograph, most of the paper is not quite black."""
    clean = torch.zeros(40, 1, 32, 256, dtype=torch.uint8)
    clean[..., 8:24, 100:160:20] = 255
    noise = torch.randint(0, 100, clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    unknown = torch.zeros(40, 3, 4, dtype=torch.long)
    batches = [
        SceneBatch(it, *(unknown[..., 0],) * 3, torch.full((40,), 3), unknown, unknown[..., 0])
        for it in (clean, clean.maximum(noise))
    ]
    config = FolderConfig(path="it", corruptions=CorruptionConfig(random=True, crop=0.5))
    cropped, noisy = (augment_pictures(it, torch.arange(40), config, 0, "train", MNIST_SIZE) for it in batches)
    writing = [ink_boxes((it.images[:, 0] >= 128).to(torch.uint8)) for it in (cropped, noisy)]
    assert (writing[0] - writing[1]).abs().max() <= 1
    assert not cropped.boxes.any()


def test_every_epoch_shows_each_picture_once_and_changes_it_anew(bars: Path) -> None:
    data = SceneDataModule(FolderConfig(path=str(bars), batch_size=4, height=32, width=96, **AUGMENTED))
    data.setup()
    loader = data.train_dataloader()
    ids = torch.cat([batch.ids for _ in range(4) for batch in loader])
    assert ids.tolist() != sorted(ids.tolist())
    assert len(ids) == len(ids.unique()) == 32
    epochs = ids.view(-1, 8)
    assert torch.equal((epochs % 8).sort(1).values, torch.arange(8).expand(4, 8))


def test_keys_of_digits_raise_for_a_directory() -> None:
    for values in ({"num_train_scenes": 3}, {"augment": AugmentConfig(shared=0.5)}):
        with pytest.raises(ValueError, match=r"data=folder|as a whole"):
            FolderConfig(path="somewhere", **values)  # type: ignore[arg-type]
