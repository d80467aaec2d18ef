"""Directories of images: checked when they are read, and every error names the file and the line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

import mnist_seq
from mnist_seq import nn, vocabulary
from mnist_seq.config import CorruptionConfig, FolderConfig
from mnist_seq.data import datasets, image_folder
from mnist_seq.data.datasets import CorruptedDataset, FolderDataset, SyntheticDataset
from mnist_seq.data.image_io import load_rgba
from mnist_seq.data.preprocess import Preprocess, pad_pictures
from mnist_seq.errors import UserError
from mnist_seq.training.build import build_module_and_data
from tests.conftest import TINY, tiny_models
from tests.data.preset_configs import pool, preset
from tests.data.test_export_dataset import export


def write_folder(directory: Path, lines: list[str], size: tuple[int, int] = (30, 40), images: int = 3) -> Path:
    """A directory as a user makes it: dark ink on white."""
    directory.mkdir(parents=True, exist_ok=True)
    for index in range(images):
        pixels = np.full(size, 255, dtype=np.uint8)
        pixels[5:20, 5 + index] = 30
        Image.fromarray(pixels).save(directory / f"{index}.png")
    (directory / "labels.jsonl").write_text("\n".join(lines))
    return directory


def load_folder(directory: Path, **values: Any) -> dict[str, FolderDataset]:
    return datasets.load_folder(FolderConfig(path=str(directory), **values))


def line(index: int = 0, digits: object = (1, 2)) -> str:
    return json.dumps({"image": f"{index}.png", "digits": digits})


def test_digits_and_images_shared_by_train_and_val_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"image": f"{index}.png", "digits": [1, 2], "sources": [index, 90]} for index in range(6)]
    shared_digit, disjoint, shared_image = (
        [json.dumps(row) for row in [*rows[:5], rows[5] | last]]
        for last in ({}, {"sources": [5, 91]}, {"sources": [5, 91], "image": "0.png"})
    )
    load_folder(write_folder(tmp_path / "disjoint", disjoint, images=6), split_seed=None)
    assert "share" not in caplog.text
    load_folder(write_folder(tmp_path / "shared_digit", shared_digit, images=6), split_seed=None)
    assert "1 of 1 val scenes share digit images with train" in caplog.text
    caplog.clear()
    load_folder(write_folder(tmp_path / "shared_image", shared_image, images=6), split_seed=None)
    assert "1 of 1 val images are also in train" in caplog.text


def test_images_shared_by_the_directories_of_splits_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, index in (("train", 0), ("val", 0), ("test", 0)):
        write_folder(tmp_path / split, [json.dumps({"image": f"../images/{index}.png", "digits": [1]})], images=0)
    write_folder(tmp_path / "images", [])
    load_folder(tmp_path)
    for split, other in (("val", "train"), ("test", "train"), ("test", "val")):
        assert f"1 of 1 {split} images are also in {other}" in caplog.text


def test_contradicting_labels_of_one_file_raise_however_its_path_is_written(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_folder(tmp_path, [line(0), json.dumps({"image": "sub/../0.png", "digits": [3]})])
    with pytest.raises(UserError, match=r"digits \[3\], but .* labels the same image \[1, 2\]"):
        load_folder(tmp_path)


def test_conflicting_labels_for_one_image_raise(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"labels.jsonl:2: digits \[2\], but .*labels.jsonl:1 labels the same image \[1\]"
    ):
        load_folder(write_folder(tmp_path, [line(0, [1]), line(0, [2])]))


def test_training_directory_without_any_digit_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of its 3 training images has a digit label: add labels"):
        load_folder(write_folder(tmp_path, [line(index, []) for index in range(3)]))


@pytest.mark.parametrize(
    "data",
    ["single", "grid data.p_empty=0.4", "scatter", "string", "line", "cluttered", "mixed"],
    ids=lambda data: data.split()[0],
)
def test_exported_cells_equal_those_of_the_family(data: str, tmp_path: Path) -> None:
    name, *overrides = data.split()
    dataset = SyntheticDataset(preset(name, *overrides), pool("train"))
    export(tmp_path / "scenes", 40, dataset, split="train")
    read = load_folder(tmp_path / "scenes", pool="full")["train"]
    assert read.spec.cells == dataset.spec.cells
    assert torch.equal(read[:40].cells, dataset[:40].cells)


def test_images_of_at_most_one_digit_are_one_cell_and_longer_ones_have_no_cells(tmp_path: Path) -> None:
    single = load_folder(write_folder(tmp_path / "single", [line(0, [3]), line(1, [])]))["train"]
    assert single.spec.cells == (1, 1)
    assert single[:2].cells.tolist() == [[3], [vocabulary.EMPTY_CELL]]
    several = load_folder(write_folder(tmp_path / "several", [line(0, [3]), line(1, [3, 1])]))["train"]
    assert several.spec.cells == (0, 0)
    with pytest.raises(UserError, match="or the labels of their folder name none.*: choose model=enc_dec"):
        nn.build(tiny_models()["classifier"], several.spec)


def test_cells_of_different_shapes_raise(tmp_path: Path) -> None:
    rows = [{"image": "0.png", "digits": [3, 1], "cells": [[3, 1]]}, {"image": "1.png", "digits": [3, 1]}]
    with pytest.raises(UserError, match=r"labels.jsonl:2: 0x0 cells, but the 1x2 of .*labels.jsonl:1"):
        load_folder(write_folder(tmp_path, [json.dumps(row) for row in rows]))


@pytest.mark.parametrize("data", ["single", "grid data.p_empty=0.4", "scatter"], ids=lambda data: data.split()[0])
def test_classifier_trains_and_is_evaluated_on_a_directory(data: str, tmp_path: Path) -> None:
    name, *overrides = data.split()
    dataset = SyntheticDataset(preset(name, *overrides), pool("train"))
    export(tmp_path / "scenes", 70, dataset, split="train")
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    run = mnist_seq.fit(f"data.from={tmp_path}/scenes", "model=classifier", *tiny, f"hydra.run.dir={tmp_path}/run")
    assert 0 <= run.metrics["val"]["exact_match"] <= 1


@pytest.mark.parametrize("full", [True, False])
def test_directory_exported_from_the_full_pool_includes_val_digits(full: bool, tmp_path: Path) -> None:
    data = {"pool": "full" if full else "split"}
    dataset = SyntheticDataset(preset("scatter"), pool("train"))
    export(tmp_path / "all", 12, dataset, split="train", digits="uci", data=data)
    loaded = datasets.load(FolderConfig(path=str(tmp_path / "all")))
    assert (loaded.source, loaded.train_includes_val) == ("uci", full)
    assert datasets.load(FolderConfig(path=str(tmp_path / "all"), pool="full")).train_includes_val


def test_dark_ink_on_white_is_inverted(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", [line(0, [3, 1]), line(1, []), line(2, [7])])
    loaded = load_folder(tmp_path / "mine")["train"]
    assert (loaded.spec.height, loaded.spec.width, loaded.spec.max_length, loaded.spec.cells) == (30, 40, 2, (0, 0))
    scenes = loaded[:3]
    assert scenes.digits.tolist() == [[3, 1], [10, 10], [7, 10]]
    assert scenes.images[:, 0, 10, 4:9].tolist() == [[0, 225, 0, 0, 0], [0, 0, 225, 0, 0], [0, 0, 0, 225, 0]]
    assert scenes.sources.unique().tolist() == [-1]


def test_splits_are_subdirectories_or_a_fifth_or_what_the_card_says(tmp_path: Path) -> None:
    flat = write_folder(tmp_path / "flat", [line(index, [index]) for index in range(7)], images=7)
    assert {split: len(part) for split, part in load_folder(flat).items()} == {"train": 6, "val": 1}
    assert {split: len(part) for split, part in load_folder(flat, pool="full").items()} == {"train": 7}
    for split, num in (("train", 3), ("test", 2)):
        write_folder(tmp_path / "split" / split, [line()] * num)
    assert {split: len(part) for split, part in load_folder(tmp_path / "split").items()} == {
        "train": 3,
        "test": 2,
    }
    write_folder(tmp_path / "split" / "val", [line()] * 4)
    assert {split: len(part) for split, part in load_folder(tmp_path / "split", pool="full").items()} == {
        "train": 7,
        "test": 2,
    }
    assert list(load_folder(export(tmp_path / "scenes", 20))) == ["test"]


def test_images_smaller_than_the_blur_radius_are_blurred(tmp_path: Path) -> None:
    scenes = load_folder(write_folder(tmp_path, [line()], size=(12, 14)))["train"]
    assert (
        CorruptedDataset(scenes, CorruptionConfig(blur=5))[:1].images.float().std()
        < scenes[:1].images.float().std() / 2
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"data": "mine"}'])
def test_foreign_card_is_named(text: str, tmp_path: Path) -> None:
    (write_folder(tmp_path, [line()]) / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card.json (is not valid JSON|was not written by synthesise)"):
        load_folder(tmp_path)


def draw_line(size: tuple[int, int], rows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Black bars, at x0 y0 x1 y1, on paper of this size."""
    pixels = np.full(size, 230, dtype=np.uint8)
    for x0, y0, x1, y1 in rows:
        pixels[y0:y1, x0:x1] = 20
    return pixels


def write_pictures(directory: Path, pictures: list[np.ndarray], **keys: list[Any]) -> Path:
    """A directory of pictures with one digit each, and these keys in their labels."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(directory / f"{index}.png")
        values = {key: value[index] for key, value in keys.items()}
        rows.append(json.dumps({"image": f"{index}.png", "digits": [index % 10]} | values))
    (directory / "labels.jsonl").write_text("\n".join(rows))
    return directory


BOXES = [[40, 30, 52, 70], [100, 30, 112, 70]]


def test_images_of_any_size_are_shown_as_the_reader_shows_them(tmp_path: Path) -> None:
    pictures = [draw_line((100, 200), BOXES), draw_line((300, 500), [[200, 100, 210, 150]])]
    mine = write_pictures(tmp_path, pictures, digits=[[1, 2], [3]], boxes=[BOXES, []])
    scenes = load_folder(mine, pool="full")["train"]
    assert (scenes.spec.height, scenes.spec.width) == (32, 256)
    batch = scenes[:2]
    expected = [Preprocess(scenes.spec)(*pad_pictures([load_rgba(picture)])).images for picture in pictures]
    assert (batch.images[:, 0] / 255 - torch.cat(expected)).abs().max() < 0.01
    ink = batch.images[0, 0] > 127
    for x0, y0, x1, y1 in batch.boxes[0].tolist():
        assert ink[y0:y1, x0:x1].float().mean() > 0.8
        ink[y0:y1, x0:x1] = False
    assert not ink.any(), "boxes cover the ink"
    assert not batch.boxes[1].any(), "unknown"
    assert load_folder(mine, pool="full", height=64, width=64)["train"][0].images.shape == (1, 1, 64, 64)


def test_small_images_of_one_size_are_their_own_canvas_and_large_ones_are_not(tmp_path: Path) -> None:
    for size, canvas in (((90, 120), (90, 120)), ((90, 300), (32, 256))):
        mine = write_pictures(tmp_path / str(size), [draw_line(size, BOXES)] * 2)
        spec = load_folder(mine)["train"].spec
        assert (spec.height, spec.width) == canvas


def test_rows_of_an_image_share_its_canvas_and_give_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_rows = draw_line((300, 300), [(40, 40, 50, 90), (80, 40, 90, 90), (40, 200, 50, 250)])
    mine = write_pictures(tmp_path, [draw_line((100, 200), BOXES), two_rows])
    image = load_folder(mine, pool="full")["train"][1].images[0, 0]
    assert "1 of 2 images have several rows" in caplog.text
    inked_rows = (image > 127).any(1)
    assert (inked_rows[1:] & ~inked_rows[:-1]).sum() == 2


def test_few_images_are_held_as_floats_at_a_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory thus grows with the scenes, 1 byte a pixel; the scenes do not depend on how many are read together."""
    two_rows = draw_line((300, 300), [(40, 40, 50, 90), (80, 40, 90, 90), (40, 200, 50, 250)])
    blank = np.full((100, 200), 255, np.uint8)
    pictures = [draw_line((100, 200), BOXES), two_rows, two_rows.T.copy(), blank, two_rows]
    mine = write_pictures(tmp_path, pictures, boxes=[[box] for box in (BOXES * 3)[:5]])
    together = load_folder(mine, pool="full")["train"]
    held = []
    preprocess = image_folder.preprocess_batches
    monkeypatch.setattr(image_folder, "_CHUNK_PIXELS", 2 * 32 * 256)
    monkeypatch.setattr(image_folder, "preprocess_batches", lambda *args: held.append(preprocess(*args)) or held[-1])
    caplog.clear()
    in_chunks = load_folder(mine, pool="full")["train"]
    for one, other in zip(together[:5], in_chunks[:5], strict=True):
        assert (one == other).all()
    assert max(len(canvases.images) for canvases in held) < 5
    assert "of 5 images have several rows" in caplog.text
    assert "1 of 5 images have digits, but no ink is found on them" in caplog.text


def test_image_that_is_displayed_rotated_has_its_displayed_size(tmp_path: Path) -> None:
    mine = write_pictures(tmp_path, [draw_line((60, 90), BOXES)])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(mine / "0.png").save(mine / "0.png", exif=exif)
    scenes = load_folder(mine)["train"]
    assert (scenes.spec.height, scenes.spec.width) == (90, 60)
    assert scenes[0].images.shape == (1, 1, 90, 60)


def test_corrupt_images_and_labels_longer_than_max_length_are_named(tmp_path: Path) -> None:
    mine = write_folder(tmp_path, [line(0), line(1)])
    with pytest.raises(ValueError, match=r"labels.jsonl:1: 2 digits, but at most data.max_length=1 fit"):
        load_folder(mine, max_length=1)
    (mine / "1.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"labels.jsonl:2: .*1.png is not a readable image"):
        load_folder(mine)
    with pytest.raises(ValueError, match=r"data.height=32 with data.width=None: set both, or neither"):
        load_folder(mine, height=32)


@pytest.mark.parametrize("damaged", [0, 3])
def test_damaged_image_of_either_split_ends_a_run_before_it_begins(damaged: int, tmp_path: Path) -> None:
    mine = write_folder(tmp_path, [line(index) for index in range(4)], images=4)
    (mine / f"{damaged}.png").write_bytes(b"not an image")
    config = mnist_seq.compose(f"data.from={mine}", "data.split_seed=null", "data.val_fraction=0.25")
    with pytest.raises(UserError, match=f"{damaged}.png is not a readable image"):
        build_module_and_data(config)


def test_missing_or_empty_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="data.path=.*nowhere is not a directory"):
        datasets.load(FolderConfig(path=str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match="contains neither labels.jsonl nor labels.csv"):
        datasets.load(FolderConfig(path=str(tmp_path)))
