"""Any picture in, the same reading out; nothing unsafe or unsuitable is loaded."""

from __future__ import annotations

import json
import pickle
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_seq
from mnist_seq import read
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference import weights
from mnist_seq.inference.preprocess import fit_to_canvas
from mnist_seq.inference.reader import Reader, load_image
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from tests.conftest import stirred, tiny_models


@pytest.fixture
def grey() -> np.ndarray:
    """A scene of real digits, H W, uint8, light on dark."""
    return mnist_seq.scenes("grid", "data.digits=uci", split="test")[3].images[0, 0].numpy()


@pytest.fixture
def reader(tiny_run: Run) -> Reader:
    return mnist_seq.load(tiny_run.path)


def test_a_stack_of_pictures_is_never_read_as_one(reader: Reader, grey: np.ndarray) -> None:
    for several in (2, 3, 4, 5):
        stack = np.stack([grey] * several)
        for given in (stack, torch.from_numpy(stack), stack[:, None], stack[..., None]):
            with pytest.raises(UserError, match=r"list\(x\)|or a list of them"):
                reader.read(given)
        assert [it.digits for it in reader.read(list(stack))] == [reader.read(grey).digits] * several
    assert reader.read(np.stack([grey] * 3), channels="first") == reader.read(np.stack([grey] * 3, -1))


def test_any_number_of_pictures_is_read_a_few_at_a_time(
    reader: Reader, grey: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    read, canvas = reader.model.read, reader.preprocess
    alive = weakref.WeakSet[torch.Tensor]()

    def counted(images: torch.Tensor) -> Any:
        sizes.append(len(images))
        return read(images)

    def kept(picture: np.ndarray, channels: str | None) -> torch.Tensor:
        alive.add(made := canvas(picture, channels))
        assert len(alive) <= 8
        return made

    monkeypatch.setattr("mnist_seq.inference.reader._BATCH_SIZE", 4)
    monkeypatch.setattr(reader.model, "read", counted)
    monkeypatch.setattr(reader, "canvas", kept)
    pictures = [np.roll(grey, shift, 0) for shift in range(10)]
    streamed = list(reader.stream(picture for picture in pictures))
    assert sizes == [4, 4, 2]
    assert reader.read(pictures) == streamed
    assert reader.embed(pictures).shape == (10, 16)
    sizes.clear()
    assert len(reader.read_canvases(torch.from_numpy(np.stack(pictures)) / 255)) == 10
    assert sizes == [4, 4, 2]


def test_a_picture_that_cannot_be_read_hides_no_other(reader: Reader, grey: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    pictures = [grey, tmp_path / "text.png", 255 - grey, tmp_path / "gone.png", None]
    first, text, second, gone, nothing = reader.stream(pictures)
    assert first.digits == second.digits == reader.read(grey).digits
    assert "text.png is not a readable image" in str(text)
    assert isinstance(gone, NotFoundError)
    assert "unsupported image type NoneType" in str(nothing)
    with pytest.raises(UserError, match=r"pictures\[1\]: .*text.png is not a readable image"):
        reader.read(pictures)
    with pytest.raises(NotFoundError, match=r"pictures\[0\]: .*gone.png does not exist"):
        reader.read(pictures[3:])


def test_the_command_reads_what_it_can_and_names_the_rest(
    tiny_run: Run, grey: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(grey).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    names = [str(tmp_path / name) for name in ("good.png", "bad.png", "gone.png", "good.png")]
    assert read.main([*names, "--run", str(tiny_run.path)]) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [names[0]] * 2
    assert [name in line for name, line in zip(names[1:3], err.splitlines(), strict=True)] == [True] * 2
    assert read.main([names[0], "--run", str(tiny_run.path)]) == 0


def test_a_picture_of_another_size_is_cropped_to_its_ink_and_fitted(grey: np.ndarray) -> None:
    sheet = np.full((300, 500), 255, np.uint8)
    large = np.asarray(Image.fromarray(255 - grey).resize((168, 168), Image.Resampling.BICUBIC))
    sheet[40:208, 200:368] = large
    fitted = fit_to_canvas(load_image(sheet), (56, 56))
    inked = (fitted > 0.3).nonzero()
    assert 3 <= inked.min() <= 5, "a digit's margin, as in training"
    assert 50 <= inked.max() <= 52
    centred = fit_to_canvas(torch.nn.functional.pad(torch.from_numpy(grey) / 255, (9, 0, 0, 30)), (56, 56))
    assert np.corrcoef(fitted.flatten(), centred.flatten())[0, 1] > 0.97


def test_a_list_is_read_as_a_batch_and_a_picture_alone(reader: Reader, grey: np.ndarray) -> None:
    both = reader.read([grey, 255 - grey])
    alone = reader.read(grey)
    assert [reading.digits for reading in both] == [alone.digits] * 2
    assert alone.confidence == pytest.approx(both[0].confidence, rel=1e-4)
    assert len(alone.per_digit) == len(alone.digits)
    assert 0 <= alone.confidence <= min(alone.per_digit, default=1)
    assert reader.read([]) == []
    assert reader.embed(grey).shape == (16,)
    assert reader.embed([grey, grey]).shape == (2, 16)


def test_beams_tell_what_else_it_might_be(reader: Reader, grey: np.ndarray) -> None:
    one, many = reader.read(grey), reader.read([grey, grey], num_beams=4)
    assert many[0].digits == many[1].digits
    assert one.alternatives == []
    for reading in many:
        assert len(reading.alternatives) == 3
        ranked = [reading.confidence, *(other.confidence for other in reading.alternatives)]
        assert ranked == sorted(ranked, reverse=True)
        assert reading.confidence >= one.confidence - 1e-6
    by_cells = Reader(build(tiny_models()["classifier"], reader.model.spec), {})
    with pytest.raises(ValueError, match="num_beams=2: this model is not autoregressive"):
        by_cells.read(grey, num_beams=2)


def test_a_reader_shows_where_it_looks(reader: Reader, grey: np.ndarray) -> None:
    maps = reader.attention_maps(grey)
    assert maps["decoder.0.cross_attention"].shape == (2, 5, 16)


def test_a_picture_without_ink_has_no_digits_whatever_the_model(reader: Reader, grey: np.ndarray) -> None:
    own, other, paper = np.zeros((56, 56), np.uint8), np.zeros((10, 20), np.uint8), np.full((300, 200), 0.8)
    noise = np.random.default_rng(0).normal(0.7, 0.03, (200, 300)).clip(0, 1)
    by_cells = Reader(stirred(build(tiny_models()["classifier"], reader.model.spec)), {})
    for picture in (own, 255 - own, other, paper, noise):
        for reading in (
            reader.read(picture),
            reader.read([grey, picture, grey], num_beams=2)[1],
            by_cells.read(picture),
        ):
            assert (str(reading), reading.digits, reading.per_digit, reading.confidence) == ("no digits", [], [], 1)
            assert reading.blank
            assert reading.alternatives == []
        assert by_cells.read(picture).cells == [None] * 4
    assert reader.read([own, grey, other])[1].digits == reader.read(grey).digits
    assert not reader.read(grey).blank


def test_canvases_are_read_as_their_pictures_are(reader: Reader, grey: np.ndarray) -> None:
    photo = np.asarray(Image.fromarray(255 - grey).resize((300, 300)))
    pictures = [grey, photo, 255 - grey]
    canvases = torch.stack([reader.preprocess(picture) for picture in pictures])
    assert torch.equal(canvases[0], torch.from_numpy(grey) / 255)
    torch.testing.assert_close(canvases[2], canvases[0])
    assert reader.read_canvases(canvases) == reader.read_canvases(canvases[:, None]) == reader.read(pictures)
    assert reader.read_canvases(canvases[:0]) == []
    with pytest.raises(ValueError, match=r"canvases of shape \(3, 28, 56\): give B 56 56"):
        reader.read_canvases(canvases[:, :28])


@pytest.mark.parametrize(
    "picture",
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
def test_what_is_no_image_is_refused_in_a_line(reader: Reader, picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape|pixel values|type") as refused:
        reader.read(picture)
    assert "\n" not in str(refused.value)


def test_an_unreadable_file_is_named(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.png does not exist"):
        reader.read(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text.png is not a readable image"):
        reader.read(tmp_path / "text.png")


@pytest.mark.parametrize("name", tiny_models())
def test_weights_survive_the_disk(name: str, tmp_path: Path) -> None:
    spec = mnist_seq.scenes("grid", "data.digits=uci").spec
    model = stirred(build(tiny_models()[name], spec))
    weights.save(model, tmp_path / "weights.safetensors", note="x")
    again, card = weights.load(tmp_path)
    assert card["note"] == "x"
    assert again.spec == spec
    images = torch.rand(2, 1, 56, 56)
    assert torch.equal(again.embed(images), model.embed(images))


def test_a_moved_run_is_loaded_from_any_of_its_parts(tiny_run: Run, tmp_path: Path, grey: np.ndarray) -> None:
    moved = shutil.copytree(tiny_run.path, tmp_path / "moved")
    parts = [moved, moved / "weights.safetensors", moved / "checkpoints/last.ckpt"]
    readings = [mnist_seq.load(part).read(grey) for part in parts]
    assert readings[0] == readings[1] == readings[2]


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[attr-defined, return-value]


def test_no_code_runs_when_something_is_loaded(tmp_path: Path) -> None:
    trap = Trap()
    trap.path = str(tmp_path / "sprung")  # type: ignore[attr-defined]
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(trap))
    torch.save({"state_dict": {}, "reader": trap}, tmp_path / "zipped.ckpt")
    for name in ("evil.ckpt", "zipped.ckpt"):
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint"):
            mnist_seq.load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_what_cannot_be_loaded_is_named(tiny_run: Run, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_run.path, tmp_path / "run")
    card = json.loads((moved / "model.json").read_text())
    cases: list[tuple[dict[str, object], str]] = [
        (card | {"vocabulary": ["a", "b"]}, "another vocabulary"),
        (card | {"model": card["model"] | {"dim": 32}}, "another shape"),
        (card | {"model": card["model"] | {"name": "perceptron"}}, "model.name=perceptron"),
        ({"model": {}}, "lacks spec, vocabulary"),
    ]
    for changed, problem in cases:
        (moved / "model.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=problem) as refused:
            mnist_seq.load(moved)
        assert "\n" not in str(refused.value)
    (moved / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match="model card"):
        mnist_seq.load(moved)
    (moved / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a safetensors file"):
        mnist_seq.load(moved)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        mnist_seq.load(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="neither"):
        mnist_seq.load(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no model card"):
        mnist_seq.load(tmp_path / "other.ckpt")
