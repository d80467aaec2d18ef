"""Scenes on disk: what is written is what is read, kills lose nothing, and mistakes are named by file and line."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_seq
from mnist_seq import nn, vocabulary
from mnist_seq.config import CorruptionConfig, FolderConfig
from mnist_seq.data import datasets, export_dataset, image_folder
from mnist_seq.data.corruptions import CorruptedDataset
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.errors import UserError
from tests.conftest import TINY, tiny_models
from tests.data.preset_configs import pool, preset

ABOUT = {"family": "scatter", "protocol": "Digits.", "split": "test", "scenes": 1200, "data": {"family": "scatter"}}


def scattered() -> SyntheticDataset:
    return SyntheticDataset(preset("scatter"), pool("test"))


def written(target: Path, number: int = 1200) -> Path:
    for _ in export_dataset.write_dataset(scattered(), number, ABOUT | {"scenes": number}, target):
        pass
    return target


def own(directory: Path, lines: list[str], size: tuple[int, int] = (30, 40), images: int = 3) -> Path:
    """A folder as a person makes it: dark ink on white, of any format."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(images):
        pixels = np.full(size, 255, dtype=np.uint8)
        pixels[5:20, 5 + number] = 30
        Image.fromarray(pixels).save(directory / f"{number}.png")
    (directory / "labels.jsonl").write_text("\n".join(lines))
    return directory


def line(number: int = 0, digits: object = (1, 2)) -> str:
    return json.dumps({"image": f"{number}.png", "digits": digits})


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    directory = written(tmp_path / "scenes")
    read = image_folder.load(str(directory))["test"][:1200]
    for field in ("images", "digits", "tokens", "counts", "boxes", "sources"):
        assert torch.equal(getattr(read, field), getattr(scattered()[:1200], field)), field
    assert sorted(path.name for path in directory.iterdir()) == [
        "README.md", "SHA256SUMS", "card.json", "images", "labels.jsonl",
    ]  # fmt: skip
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=directory, check=False)
    assert checked.returncode == 0
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert {row.split("  ")[1] for row in (directory / "SHA256SUMS").read_text().splitlines()} == files - {"SHA256SUMS"}


def test_a_data_set_begun_is_gone_on_with_and_equals_one_made_at_once(tmp_path: Path) -> None:
    target = tmp_path / "scenes"
    part = target.with_name("scenes.part")
    going = export_dataset.write_dataset(scattered(), 1200, ABOUT, target)
    assert next(going) == 500
    going.close()  # killed after a shard, in the middle of the next
    assert not target.exists()
    (part / "images" / "00001").mkdir()
    (part / "images" / "00001" / "00000500.png").write_bytes(b"half")
    first = part / "images" / "00000" / "00000000.png"
    since = first.stat().st_mtime_ns
    assert list(export_dataset.write_dataset(scattered(), 1200, ABOUT, target)) == [500, 1000, 1200]
    assert (target / "images" / "00000" / "00000000.png").stat().st_mtime_ns == since, "not written again"
    assert not part.exists()
    once = written(tmp_path / "once")
    for path in once.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (target / path.relative_to(once)).read_bytes()


def test_a_data_set_that_was_whole_but_for_its_name_is_named(tmp_path: Path) -> None:
    done = written(tmp_path / "scenes")
    (done / "shards").mkdir()
    done.rename(tmp_path / "scenes.part")
    assert list(export_dataset.write_dataset(scattered(), 1200, ABOUT, done)) == []
    assert hashlib.sha256((done / "labels.jsonl").read_bytes()).hexdigest() in (done / "SHA256SUMS").read_text()
    assert not (done / "shards").exists()


def test_nothing_is_written_over_anything_else(tmp_path: Path) -> None:
    directory = written(tmp_path / "scenes", 3)
    before = (directory / "labels.jsonl").stat().st_mtime_ns
    assert list(export_dataset.write_dataset(scattered(), 3, ABOUT | {"scenes": 3}, directory)) == [3], "there already"
    assert (directory / "labels.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="is not empty"):
        written(directory, 4)
    next(export_dataset.write_dataset(scattered(), 1200, ABOUT, tmp_path / "other"))
    with pytest.raises(ValueError, match="a partial export of another dataset"):
        written(tmp_path / "other", 1300)


def test_digits_and_pictures_that_train_and_val_share_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"image": f"{number}.png", "digits": [1, 2], "sources": [number, 90]} for number in range(6)]
    shared, apart, twice = (
        [json.dumps(row) for row in [*rows[:5], rows[5] | last]]
        for last in ({}, {"sources": [5, 91]}, {"sources": [5, 91], "image": "0.png"})
    )
    image_folder.load(str(own(tmp_path / "apart", apart, images=6)))
    assert not caplog.text
    image_folder.load(str(own(tmp_path / "shared", shared, images=6)))
    assert "1 of 1 val scenes show digits that training scenes show too" in caplog.text
    caplog.clear()
    image_folder.load(str(own(tmp_path / "twice", twice, images=6)))
    assert "1 of 1 val pictures are training pictures too" in caplog.text


def test_a_picture_with_two_different_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"labels.jsonl:2: digits \[2\], but .*labels.jsonl:1 gives the same image \[1\]"
    ):
        image_folder.load(str(own(tmp_path, [line(0, [1]), line(0, [2])])))


def test_a_training_folder_without_a_single_digit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of its 3 training pictures has a digit: label them"):
        image_folder.load(str(own(tmp_path, [line(number, []) for number in range(3)])))


@pytest.mark.parametrize(
    "asked",
    ["single", "grid data.p_empty=0.4", "scatter", "line", "cluttered", "mixed"],
    ids=lambda asked: asked.split()[0],
)
def test_the_cells_of_a_folder_are_those_of_the_family_that_it_shows(asked: str, tmp_path: Path) -> None:
    name, *overrides = asked.split()
    shown = SyntheticDataset(preset(name, *overrides), pool("train"))
    for _ in export_dataset.write_dataset(shown, 40, ABOUT | {"split": "train", "scenes": 40}, tmp_path / "scenes"):
        pass
    read = image_folder.load(str(tmp_path / "scenes"), train_on_val=True)["train"]
    assert read.spec.cells == shown.spec.cells
    assert torch.equal(read[:40].cells, shown[:40].cells)


def test_pictures_of_at_most_one_digit_are_one_cell_and_others_without_cells_have_none(tmp_path: Path) -> None:
    single = image_folder.load(str(own(tmp_path / "single", [line(0, [3]), line(1, [])])))["train"]
    assert single.spec.cells == (1, 1)
    assert single[:2].cells.tolist() == [[3], [vocabulary.EMPTY_CELL]]
    several = image_folder.load(str(own(tmp_path / "several", [line(0, [3]), line(1, [3, 1])])))["train"]
    assert several.spec.cells == (0, 0)
    with pytest.raises(UserError, match="or the labels of their folder name no cells: choose model=enc_dec"):
        nn.build(tiny_models()["classifier"], several.spec)


def test_cells_of_different_shapes_are_refused(tmp_path: Path) -> None:
    rows = [{"image": "0.png", "digits": [3, 1], "cells": [[3, 1]]}, {"image": "1.png", "digits": [3, 1]}]
    with pytest.raises(UserError, match=r"labels.jsonl:2: 0x0 cells, but the 1x2 of .*labels.jsonl:1"):
        image_folder.load(str(own(tmp_path, [json.dumps(row) for row in rows])))


@pytest.mark.parametrize("asked", ["single", "grid data.p_empty=0.4", "scatter"], ids=lambda asked: asked.split()[0])
def test_a_classifier_trains_and_is_evaluated_on_a_folder(asked: str, tmp_path: Path) -> None:
    name, *overrides = asked.split()
    shown = SyntheticDataset(preset(name, *overrides), pool("train"))
    for _ in export_dataset.write_dataset(shown, 70, ABOUT | {"split": "train", "scenes": 70}, tmp_path / "scenes"):
        pass
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    run = mnist_seq.fit(f"data.from={tmp_path}/scenes", "model=classifier", *tiny, f"hydra.run.dir={tmp_path}/run")
    assert 0 <= run.metrics["val"]["exact_match"] <= 1


@pytest.mark.parametrize("full", [True, False])
def test_scenes_of_all_digits_teach_those_of_val_too(full: bool, tmp_path: Path) -> None:
    about = ABOUT | {"split": "train", "digits": "uci", "data": {"pool": "full" if full else "split"}}
    for _ in export_dataset.write_dataset(
        SyntheticDataset(preset("scatter"), pool("train")), 12, about | {"scenes": 12}, tmp_path / "all"
    ):
        pass
    found = datasets.load(FolderConfig(path=str(tmp_path / "all")))
    assert (found.source, found.train_includes_val) == ("uci", full)
    assert datasets.load(FolderConfig(path=str(tmp_path / "all"), pool="full")).train_includes_val


def test_an_own_folder_is_read_light_on_dark(tmp_path: Path) -> None:
    own(tmp_path / "mine", [line(0, [3, 1]), line(1, []), line(2, [7])])
    loaded = image_folder.load(str(tmp_path / "mine"))["train"]
    assert (loaded.spec.height, loaded.spec.width, loaded.spec.max_length, loaded.spec.cells) == (30, 40, 2, (0, 0))
    scenes = loaded[:3]
    assert scenes.digits.tolist() == [[3, 1], [10, 10], [7, 10]]
    assert scenes.images[:, 0, 10, 4:9].tolist() == [[0, 225, 0, 0, 0], [0, 0, 225, 0, 0], [0, 0, 0, 225, 0]]
    assert scenes.sources.unique().tolist() == [-1]


def test_splits_are_folders_or_the_last_sixth_or_what_the_card_says(tmp_path: Path) -> None:
    flat = own(tmp_path / "flat", [line(number, [number]) for number in range(7)], images=7)
    assert {split: len(part) for split, part in image_folder.load(str(flat)).items()} == {"train": 6, "val": 1}
    assert {split: len(part) for split, part in image_folder.load(str(flat), train_on_val=True).items()} == {"train": 7}
    for split, many in (("train", 3), ("test", 2)):
        own(tmp_path / "split" / split, [line()] * many)
    assert {split: len(part) for split, part in image_folder.load(str(tmp_path / "split")).items()} == {
        "train": 3,
        "test": 2,
    }
    own(tmp_path / "split" / "val", [line()] * 4)
    assert {
        split: len(part) for split, part in image_folder.load(str(tmp_path / "split"), train_on_val=True).items()
    } == {
        "train": 7,
        "test": 2,
    }
    assert list(image_folder.load(str(written(tmp_path / "scenes", 20)))) == ["test"]


def test_images_smaller_than_the_blur_are_blurred_too(tmp_path: Path) -> None:
    scenes = image_folder.load(str(own(tmp_path, [line()], size=(12, 14))))["train"]
    assert (
        CorruptedDataset(scenes, CorruptionConfig(blur=5))[:1].images.float().std()
        < scenes[:1].images.float().std() / 2
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"data": "mine"}'])
def test_a_card_of_somebody_else_is_named(text: str, tmp_path: Path) -> None:
    (own(tmp_path, [line()]) / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card.json is (no JSON|not what synthesise writes)"):
        image_folder.load(str(tmp_path))


def test_images_of_other_sizes_and_broken_ones_are_named(tmp_path: Path) -> None:
    mine = own(tmp_path, [line(0), line(1)])
    Image.new("L", (40, 31)).save(mine / "1.png")
    with pytest.raises(ValueError, match=r"labels.jsonl:2: .*1.png is 31x40 pixels, but the first image 30x40"):
        _ = image_folder.load(str(mine), train_on_val=True)["train"][0]
    (mine / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"labels.jsonl:2: .*1.png is not a readable image"):
        _ = image_folder.load(str(mine), train_on_val=True)["train"][0]


def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="data.path=.*nowhere is no folder"):
        datasets.load(FolderConfig(path=str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match="holds neither labels.jsonl nor labels.csv"):
        datasets.load(FolderConfig(path=str(tmp_path)))


def test_distortions_and_sizes_have_no_meaning_for_a_folder() -> None:
    for asked in ({"num_train_scenes": 3}, {"digit_size": 20}, {"augment": preset("grid").augment}):
        with pytest.raises(ValueError, match=r"data=folder|data.path"):
            FolderConfig(path="somewhere", **asked)  # type: ignore[arg-type]
