"""Splits of images on disk: no group is in two, every image is in one; the directory and its order do not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnist_seq.config import FolderConfig
from mnist_seq.config.migrations import migrate_config
from mnist_seq.data.folder_splits import describe_splits, read_split_labels
from mnist_seq.errors import UserError


def write(directory: Path, num: int = 100, **columns: list[Any]) -> Path:
    """Labelled images, each with a value in these columns."""
    directory.mkdir()
    rows = []
    for index in range(num):
        Image.new("L", (8, 8)).save(directory / f"{index}.png")
        values = {key: value[index % len(value)] for key, value in columns.items()}
        rows.append({"image": f"{index}.png", "digits": [index % 10]} | values)
    (directory / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return directory


def split(directory: Path, **values: Any) -> dict[str, set[str]]:
    splits = read_split_labels(FolderConfig(path=str(directory), **values), {})
    return {split: {label.image.name for label in labels} for split, labels in splits.items()}


def test_every_image_is_in_one_split_and_in_the_val_split_of_one_fold(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", 103)
    folds = [split(mine, fold=fold) for fold in range(5)]
    for fold in folds:
        assert not fold["train"] & fold["val"]
        assert len(fold["train"] | fold["val"]) == 103
        assert 20 <= len(fold["val"]) <= 21
    assert sum(len(fold["val"]) for fold in folds) == len(set().union(*(fold["val"] for fold in folds))) == 103


def test_split_is_random_and_depends_on_names_and_seed_alone(tmp_path: Path) -> None:
    mine, moved = write(tmp_path / "mine"), tmp_path / "moved"
    first = split(mine)
    assert first != split(mine, split_seed=1)
    classes = {int(name.removesuffix(".png")) // 10 for name in first["val"]}
    assert len(classes) > 5, "not the last images"
    mine.rename(moved)
    lines = (moved / "labels.jsonl").read_text().splitlines()
    (moved / "labels.jsonl").write_text("\n".join(reversed(lines)))
    assert split(moved) == first


def test_writers_are_in_one_split(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", writer=[*"aaaabbbccd", *range(10)])
    rows = [json.loads(line) for line in (mine / "labels.jsonl").read_text().splitlines()]
    writer = {row["image"]: row["writer"] for row in rows}
    for fold in range(4):
        splits = split(mine, split_by="writer", val_fraction=0.25, fold=fold)
        train, val = ({writer[image] for image in splits[name]} for name in ("train", "val"))
        assert not train & val
        assert len(train | val) == 14
    with pytest.raises(UserError, match=r"labels.jsonl:1: no column data.split_by=page; its other columns: writer"):
        split(mine, split_by="page")


def test_a_group_too_large_to_be_split_raises(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", writer=["a"])
    with pytest.raises(UserError, match=r"data.split_by=writer: 0 of 1 groups would be for validation: leave it out"):
        split(mine, split_by="writer")


def test_column_split_is_used_as_it_is(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", split=["train", "test", "train"])
    splits = split(mine)
    assert {name: len(images) for name, images in splits.items()} == {"train": 67, "test": 33}
    assert "1.png" in splits["test"]
    for key, value in {"split_by": "x", "fold": 2, "val_fraction": 0.25}.items():
        with pytest.raises(UserError, match=rf"data.{key}={value} has no effect, since the labels have a column split"):
            split(mine, **{key: value})
    assert {name: len(images) for name, images in split(mine, val_fraction=1).items()} == {"val": 100}
    wrong = write(tmp_path / "wrong", split=["train", "dev"])
    with pytest.raises(UserError, match=r"labels.jsonl:2: split=dev must be train, val or test"):
        split(wrong)


def test_exported_split_is_whole(tmp_path: Path) -> None:
    exported = str(write(tmp_path / "exported", 10))
    assert [*read_split_labels(FolderConfig(path=exported), {"split": "val"})] == ["val"]
    with pytest.raises(UserError, match=r"data.fold=2 has no effect, since the card .* says split=val"):
        read_split_labels(FolderConfig(path=exported, fold=2), {"split": "val"})


def test_labels_of_a_folder_and_of_its_split_directories_do_not_mix(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for part in ("train", "val"):
        write(mine / part, 10)
    with pytest.raises(UserError, match=r"data.fold=1 has no effect, since .*mine has directories train, val"):
        split(mine, fold=1)
    assert {name: len(images) for name, images in split(mine, val_fraction=1).items()} == {"val": 10}, "names repeat"
    rows = [{"image": f"{part}/{index}.png", "digits": [1]} for part in ("train", "val") for index in range(5)]
    (mine / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"has labels.jsonl and directories train, val: put the labels of each"):
        split(mine)
    for part in ("train", "val"):
        (mine / part / "labels.jsonl").unlink()
    with pytest.raises(UserError, match=r"or write a column split into labels.jsonl"):
        split(mine)
    rows = [row | {"split": row["image"].split("/")[0]} for row in rows]  # type: ignore[attr-defined]
    (mine / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert {name: len(images) for name, images in split(mine).items()} == {"train": 5, "val": 5}


def test_counted_names_are_recognized_over_all_split_directories(tmp_path: Path) -> None:
    """Dealt to three directories, sequence numbers have gaps in each."""
    for index in range(60):
        part = tmp_path / ("train", "val", "test")[index * 7 % 3]
        part.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(part / f"{index:03}.png")
    with pytest.raises(UserError, match=r"names such as .* look like sequence numbers"):
        split(tmp_path)


def test_all_images_can_be_for_validation_or_the_last_ones(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine")
    assert {name: len(images) for name, images in split(mine, val_fraction=1).items()} == {"val": 100}
    assert split(mine, split_seed=None)["val"] == {f"{index}.png" for index in range(80, 100)}
    assert list(split(mine, val_fraction=0)) == ["train"]


def test_a_folder_of_a_saved_run_keeps_the_split_that_it_was_trained_with(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", 20)
    saved = migrate_config({"schema_version": 3, "data": {"family": "folder", "path": str(mine)}}, "config.yaml")
    values = {key: value for key, value in saved["data"].items() if key not in ("family", "path")}
    assert split(mine, **values)["val"] == {"17.png", "18.png", "19.png"}
    current = {"data": {"family": "folder", "path": str(mine), "split_seed": 4, "val_fraction": 0.2}}
    assert migrate_config(current, "config.yaml")["data"] == current["data"]


def test_source_of_the_labels_and_the_size_of_splits_are_told(tmp_path: Path) -> None:
    config = FolderConfig(path=str(write(tmp_path / "mine")))
    text = describe_splits(config, read_split_labels(config, {}))
    assert text == f"{tmp_path}/mine: labels from labels.jsonl; 80 train, 20 val"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fold": 5}, r"data.fold=5 with data.val_fraction=0.2 lies beyond the last image: choose at most data.fold=4"),
        ({"fold": 1, "split_seed": None}, "data.fold=1 has no effect with data.split_seed=null"),
        ({"split_by": "writer", "split_seed": None}, "data.split_by=writer has no effect with data.split_seed=null"),
        ({"val_fraction": 1.5}, "data.val_fraction=1.5 must lie in 0..1"),
    ],
)
def test_contradictory_splits_raise(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FolderConfig(path="somewhere", **values)


def test_images_outside_of_the_directories_of_splits_raise(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path / part, 3)
    Image.new("L", (8, 8)).save(tmp_path / "1234.png")
    with pytest.raises(UserError, match="has images outside of its directories train, val: move them"):
        split(tmp_path)


def test_names_of_images_in_directories_of_splits_are_distinct(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path / part, 3)
    splits = read_split_labels(FolderConfig(path=str(tmp_path), val_fraction=1), {})
    assert sorted(label.name for label in splits["val"]) == [
        f"{part}/{i}.png" for part in ("train", "val") for i in range(3)
    ]


@pytest.mark.parametrize("values", [{"fold": 2}, {"split_by": "writer"}, {"val_fraction": 0.3}])
def test_keys_of_a_split_have_no_effect_on_the_full_pool(values: dict[str, Any], tmp_path: Path) -> None:
    mine = write(tmp_path / "mine")
    with pytest.raises(UserError, match=f"data.{next(iter(values))}=.* has no effect, since data.pool=full"):
        split(mine, pool="full", **values)
    with pytest.raises(UserError, match="data.val_fraction=1 uses all images for validation, and data.pool=full for"):
        split(mine, pool="full", val_fraction=1)
