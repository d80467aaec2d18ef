"""Any picture in, the same reading out."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_seq
from mnist_seq import read
from mnist_seq.config import Spec, StringConfig
from mnist_seq.data.image_io import load_rgba
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference.reader import Reader
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from tests.conftest import stirred, tiny_models


def test_stack_of_images_is_never_read_as_one(reader: Reader, scene_image: np.ndarray) -> None:
    for count in (2, 3, 4, 5):
        stack = np.stack([scene_image] * count)
        for array in (stack, torch.from_numpy(stack), stack[:, None], stack[..., None]):
            with pytest.raises(UserError, match=r"list\(x\)|or a list of them"):
                reader.read(array)
        assert [reading.digits for reading in reader.read(list(stack))] == [reader.read(scene_image).digits] * count
    rgb = np.stack([scene_image] * 3)
    assert reader.read(rgb, channels="first") == reader.read(np.moveaxis(rgb, 0, -1))


def test_many_images_are_read_in_batches_of_bounded_memory(
    reader: Reader, scene_image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    read_batch, load = reader.model.read, load_rgba
    alive = weakref.WeakSet[torch.Tensor]()

    def counted_read(images: torch.Tensor) -> Any:
        sizes.append(len(images))
        return read_batch(images)

    def tracked_load(image: np.ndarray, channels: str | None) -> torch.Tensor:
        alive.add(picture := load(image, channels))
        assert len(alive) <= 3
        return picture

    monkeypatch.setattr("mnist_seq.inference.reader._BATCH_SIZE", 4)
    monkeypatch.setattr("mnist_seq.data.preprocess._PADDED_PIXELS", 2 * scene_image.size)
    monkeypatch.setattr("mnist_seq.inference.reader.load_rgba", tracked_load)
    monkeypatch.setattr(reader.model, "read", counted_read)
    images = [np.roll(scene_image, shift, 0) for shift in range(10)]
    streamed = list(reader.stream(image for image in images))
    assert sizes == [4, 4, 2]
    assert reader.read(images) == streamed
    assert reader.embed(images).shape == (10, 16)
    sizes.clear()
    assert len(reader.read_canvases(torch.from_numpy(np.stack(images)) / 255)) == 10
    assert sizes == [4, 4, 2]


def test_unreadable_image_never_hides_the_others(reader: Reader, scene_image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image", encoding="utf-8")
    images = [scene_image, tmp_path / "text.png", 255 - scene_image, tmp_path / "gone.png", None]
    first, text, second, gone, nothing = reader.stream(images)
    assert first.digits == second.digits == reader.read(scene_image).digits
    assert "text.png is not a readable image" in str(text)
    assert isinstance(gone, NotFoundError)
    assert "image type NoneType" in str(nothing)
    with pytest.raises(UserError, match=r"images\[1\]: .*text.png is not a readable image"):
        reader.read(images)
    with pytest.raises(NotFoundError, match=r"images\[0\]: .*gone.png does not exist"):
        reader.read(images[3:])


def test_command_reads_what_it_can_and_names_the_rest(
    tiny_run: Run, scene_image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(scene_image).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    names = [str(tmp_path / name) for name in ("good.png", "bad.png", "gone.png", "good.png")]
    assert read.main([*names, "--run", str(tiny_run.path)]) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [names[0]] * 2
    assert [name in line for name, line in zip(names[1:3], err.splitlines(), strict=True)] == [True] * 2
    assert read.main([names[0], "--run", str(tiny_run.path)]) == 0


def test_list_is_read_as_a_batch_and_equals_single_readings(reader: Reader, scene_image: np.ndarray) -> None:
    batch = reader.read([scene_image, 255 - scene_image])
    single = reader.read(scene_image)
    assert [reading.digits for reading in batch] == [single.digits] * 2
    assert single.confidence == pytest.approx(batch[0].confidence, rel=1e-4)
    assert len(single.per_digit) == len(single.digits)
    assert 0 <= single.confidence <= min(single.per_digit, default=1)
    assert reader.read([]) == []
    assert reader.embed(scene_image).shape == (16,)
    assert reader.embed([scene_image, scene_image]).shape == (2, 16)


def test_beams_return_ranked_alternatives(reader: Reader, scene_image: np.ndarray) -> None:
    greedy, beams = reader.read(scene_image), reader.read([scene_image, scene_image], num_beams=4)
    assert beams[0].digits == beams[1].digits
    assert greedy.alternatives == []
    for reading in beams:
        assert len(reading.alternatives) == 3
        ranked = [reading.confidence, *(other.confidence for other in reading.alternatives)]
        assert ranked == sorted(ranked, reverse=True)
        assert reading.confidence >= greedy.confidence - 1e-6
    classifier = Reader(build(tiny_models()["classifier"], reader.model.spec), {})
    with pytest.raises(ValueError, match="num_beams=2: this model is not autoregressive"):
        classifier.read(scene_image, num_beams=2)


def test_attention_maps_have_a_head_a_query_and_a_key_axis(reader: Reader, scene_image: np.ndarray) -> None:
    maps = reader.attention_maps(scene_image)
    assert maps["decoder.0.cross_attention"].shape == (2, 5, 16)


def test_image_without_ink_has_no_digits_whatever_the_model(reader: Reader, scene_image: np.ndarray) -> None:
    blank, other, paper = np.zeros((56, 56), np.uint8), np.zeros((10, 20), np.uint8), np.full((300, 200), 0.8)
    noise = np.random.default_rng(0).normal(0.7, 0.03, (200, 300)).clip(0, 1)
    classifier = Reader(stirred(build(tiny_models()["classifier"], reader.model.spec)), {})
    for image in (blank, 255 - blank, other, paper, noise):
        for reading in (
            reader.read(image),
            reader.read([scene_image, image, scene_image], num_beams=2)[1],
            classifier.read(image),
        ):
            assert (str(reading), reading.digits, reading.per_digit, reading.confidence) == ("no digits", [], [], 1)
            assert reading.blank
            assert reading.alternatives == []
        assert classifier.read(image).cells == [None] * 4
    assert reader.read([blank, scene_image, other])[1].digits == reader.read(scene_image).digits
    assert not reader.read(scene_image).blank


def test_canvases_are_read_like_the_images_they_come_from(reader: Reader, scene_image: np.ndarray) -> None:
    photo = np.asarray(Image.fromarray(255 - scene_image).resize((300, 300)))
    images = [scene_image, photo, 255 - scene_image]
    preprocessed = reader.preprocess(images)
    canvases = preprocessed.images
    assert torch.equal((255 * canvases[0]).round(), torch.from_numpy(scene_image).float())
    torch.testing.assert_close(canvases[2], canvases[0], atol=1 / 255, rtol=0)
    # some processors multiply a batch of one by other instructions
    torch.testing.assert_close(reader.preprocess(photo).images[0], canvases[1], atol=1e-5, rtol=0)
    assert reader.read_preprocessed(preprocessed) == reader.read(images)
    unboxed = [replace(reading, box=None) for reading in reader.read(images)]
    assert reader.read_canvases(canvases) == reader.read_canvases(canvases[:, None]) == unboxed
    assert reader.read_canvases(canvases[:0]) == []
    with pytest.raises(ValueError, match=r"canvases of shape \(3, 28, 56\): give B 56 56"):
        reader.read_canvases(canvases[:, :28])


def test_more_digits_or_rows_than_a_model_reads_are_told() -> None:
    digit = mnist_seq.scenes("single", "data.digits=uci", split="test")[3].images[0, 0].numpy()
    one, two = (np.pad(np.concatenate([digit] * count, 1), 40) for count in (1, 2))
    single = Reader(stirred(build(tiny_models()["classifier"], Spec(28, 28, 1, (1, 1)))), {})
    line = Reader(stirred(build(tiny_models()["enc_dec"], StringConfig().spec)), {})
    assert single.read(two).warning == "2 separate shapes found, but this model reads at most 1"
    assert single.read(one).warning == line.read(two).warning == single.read(digit).warning == ""
    many = np.concatenate([np.zeros_like(two), np.pad(np.concatenate([digit] * 9, 1), ((40, 40), (40, 40)))], 1)
    of_two_rows = line.read(np.concatenate([many, np.zeros_like(many), many])).warning
    assert of_two_rows == "; ".join(f"row {row}: {line.read(many).warning}" for row in (1, 2))
    assert line.read(many).warning == "9 separate shapes found, but this model reads at most 8"
    page = np.concatenate([two] * 10)
    assert line.read(page).warning == "2 more rows of writing found, but at most 8 are read"
    assert not any(row.warning for row in line.read(page).rows)
    assert single.read(page).warning.endswith("but this model reads at most 1; " + line.read(page).warning)


def test_picture_of_several_rows_is_read_row_by_row(reader: Reader, scene_image: np.ndarray) -> None:
    line = Reader(stirred(build(tiny_models()["enc_dec"], StringConfig().spec)), {})
    digits = mnist_seq.scenes("single", "data.digits=uci", split="test")[:6].images[:, 0].numpy()
    upper, lower = np.concatenate(list(digits[:4]), 1), np.concatenate(list(digits[2:]), 1)
    sheet = 255 - np.pad(np.concatenate([upper, np.zeros((20, 112), np.uint8), lower]), 30)
    for num_beams in (1, 3):
        both = line.read(sheet, num_beams=num_beams)
        assert len(both.rows) == 2
        assert both.digits == [digit for row in both.rows for digit in row.digits]
        assert both.per_digit == [it for row in both.rows for it in row.per_digit]
        assert both.confidence == pytest.approx(both.rows[0].confidence * both.rows[1].confidence)
        (_, _, _, bottom), (_, top, _, _) = (row.box for row in both.rows)
        assert 30 < bottom - 10 < top + 10 < 120
        choices = [[row, *row.alternatives] for row in both.rows]
        products = sorted((a.confidence * b.confidence for a in choices[0] for b in choices[1]), reverse=True)
        found = [both.confidence, *(it.confidence for it in both.alternatives)]
        assert found == pytest.approx(products[:num_beams])
    assert reader.read(sheet).rows == [], "a model of grids reads all of it at once"
    assert reader.read(scene_image).rows == []


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 4, 5)),
        np.zeros((5, 5, 2)),
        np.zeros((0, 5)),
        np.full((5, 5), 7.0),
        np.full((5, 5), np.nan),
        np.full((5, 5), 300),
        np.full((5, 5), -1),
        np.array(["a.png"]),
    ],
)
def test_array_that_is_no_image_is_rejected_in_one_line(reader: Reader, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape|pixel values|type") as refused:
        reader.read(array)
    assert "\n" not in str(refused.value)


def test_unreadable_file_is_named(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.png does not exist"):
        reader.read(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"text.png is not a readable image"):
        reader.read(tmp_path / "text.png")
    Image.fromarray(np.full((5, 5), -3.0, np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(ValueError, match=r"depth.tif is not a readable image: pixel values from -3 to 0"):
        reader.read(tmp_path / "depth.tif")
