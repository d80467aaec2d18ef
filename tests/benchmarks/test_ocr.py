"""Suite ocr: scores by hand from fake readers, what every reader is shown, and the real baselines on printed digits."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mnist_seq import bench
from mnist_seq.benchmarks import ocr, ocr_readers, timer
from mnist_seq.benchmarks.ocr_readers import Baseline, OcrReader
from mnist_seq.config import BenchConfig
from mnist_seq.data.labels import Label
from mnist_seq.data.trained_images import join_digests
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference import weights

NUMBERS = ("7", "42", "0", "1234")


def draw(text: str, ink: int = 0, paper: int = 255) -> Image.Image:
    """Printed digits, one line of text under the other."""
    image = Image.new("L", (320, 40 + 60 * len(text.splitlines())), paper)
    ImageDraw.Draw(image).multiline_text((30, 20), text, ink, ImageFont.load_default(48), spacing=20)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Drawn pictures with their labels, the last one without digits."""
    path = tmp_path / "pictures"
    path.mkdir()
    for text in (*NUMBERS, ""):
        draw(text).save(path / f"n{text}.png")
    lines = [json.dumps({"image": f"n{text}.png", "digits": [*map(int, text)]}) for text in (*NUMBERS, "")]
    (path / "labels.jsonl").write_text("\n".join(lines))
    return path


def scripted(name: str, texts: list[str], num_bytes: int = 1) -> OcrReader:
    """A reader that reads these, the first twice, since readers are warmed up."""
    remaining = iter([texts[0], *texts])
    return OcrReader(name, lambda image: ocr_readers.parse_digits([next(remaining)]), num_bytes)


def test_exact_match_takes_all_digits_in_order_and_has_the_interval_of_wilson(folder: Path) -> None:
    misread = ["7", "24", "0", "123", "1"]  # right, swapped, right, one too few, one too many
    readers = [scripted("perfect", [*NUMBERS, ""]), scripted("poor", misread, 2_500_000)]
    perfect, poor = ocr.compare_readers(readers, ocr.load_labels(str(folder)))
    assert perfect.exact_match == pytest.approx((1, 0.5655, 1, 5), abs=1e-4)
    assert poor.exact_match == pytest.approx((0.4, 0.1176, 0.7693, 5), abs=1e-4)
    assert poor.digits == [[7], [2, 4], [0], [1, 2, 3], [1]]
    assert (poor.reader, poor.megabytes) == ("poor", 2.5)


def test_pictures_that_share_source_digits_widen_the_interval() -> None:
    reader = OcrReader("reader", lambda image: [], 1)

    def width(sources: list[list[int]]) -> float:
        digits = [[1], [1], [1], [1], [], [], [], []]
        labels = [Label("", "", Path(), it, [], source, [], {}) for it, source in zip(digits, sources, strict=True)]
        exact_match = ocr._summarize(reader, [[]] * 8, [1.0] * 8, labels).exact_match
        return exact_match.high - exact_match.low

    independent = width([[]] * 8)
    assert width([[1], [2], [3], [4], [], [], [], []]) == pytest.approx(independent)
    assert width([[1], [1], [1], [1], [], [], [], []]) > 1.2 * independent


def test_milliseconds_are_of_reading_alone_and_summarized_over_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = count()
    monkeypatch.setattr(timer, "time", SimpleNamespace(perf_counter=lambda: next(now) / 1000))
    load = ocr.load_picture
    monkeypatch.setattr(ocr, "load_picture", lambda path: [load(path), *(next(now) for _ in range(50))][0])
    durations = iter([99, 9, 9, 9, 19, 29])  # the first warms up

    def read(image: Image.Image) -> list[int]:
        for _ in range(next(durations)):
            next(now)
        return []

    (result,) = ocr.compare_readers([OcrReader("slow", read, 1)], ocr.load_labels(str(folder)))
    assert result.milliseconds == pytest.approx((10, 10, 28))


def test_every_reader_is_shown_the_same_pictures_in_turn(folder: Path) -> None:
    shown: list[tuple[str, Image.Image]] = []
    readers = [OcrReader(name, lambda image, name=name: shown.append((name, image)) or [], 1) for name in "ab"]
    ocr.compare_readers(readers, ocr.load_labels(str(folder)))
    names = [name for name, _ in shown]
    assert names == ["a", "b"] * (1 + 5)
    for (_, first), (_, second), text in zip(shown[2::2], shown[3::2], [*NUMBERS, ""], strict=True):
        assert first is second, "it is decoded once"
        assert first.mode == "RGB"
        assert first.tobytes() == draw(text).convert("RGB").tobytes()


@pytest.mark.parametrize("level", [0, 255])
def test_strokes_on_nothing_are_shown_on_paper_of_the_opposite_level(level: int, tmp_path: Path) -> None:
    strokes = Image.new("RGBA", draw("7").size, (level, level, level, 0))
    strokes.putalpha(ImageOps.invert(draw("7")))
    strokes.save(tmp_path / "strokes.png")
    shown = ocr.load_picture(tmp_path / "strokes.png")
    assert shown.tobytes() == draw("7", level, 255 - level).convert("RGB").tobytes()


def test_colours_and_the_orientation_of_a_camera_are_kept(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((8, 6))
    image.putpixel((0, 0), (10, 200, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    assert ocr.load_picture(tmp_path / "photo.png").tobytes() == image.rotate(-90, expand=True).tobytes()


def test_digits_of_a_text_are_those_of_its_lines_and_nothing_else() -> None:
    assert ocr_readers.parse_digits(["No. 1,2", "", "3O-٤5 ²"]) == [1, 2, 3, 5]
    assert ocr_readers.parse_digits([]) == []


def test_tesseract_is_shown_dark_digits_of_one_size_on_light_paper() -> None:
    dark_on_light = ocr_readers._prepare_for_tesseract(draw("12").convert("RGB"))
    light_on_dark = ocr_readers._prepare_for_tesseract(ImageOps.invert(draw("12")).convert("RGB"))
    assert light_on_dark.tobytes() == dark_on_light.tobytes()
    assert dark_on_light.getpixel((0, 0)) == 255
    enlarged = draw("12").resize((960, 300)).convert("RGB")
    assert ocr_readers._prepare_for_tesseract(enlarged).size == dark_on_light.size


def test_command_prints_a_row_a_reader_and_a_line_for_what_is_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes = {
        "there": Baseline(lambda: None, lambda: [scripted("fake", [*NUMBERS, "5"], 3_000_000)]),
        "gone": Baseline(lambda: "make baselines", lambda: pytest.fail("a missing baseline is not built")),
    }
    monkeypatch.setattr(ocr_readers, "BASELINES", fakes)
    config = BenchConfig("ocr", images=str(folder), run="pretrained:single", device="cpu", output_dir=str(tmp_path))
    bench._job(config, tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("not installed, skipped: gone (make baselines)\n") == 1
    rows = [line.split() for line in printed.splitlines()]
    (fake,) = (row for row in rows if row[:1] == ["fake"])
    assert fake[1:5] == ["80.0%", "(37.6", "to", "96.4)"]
    assert fake[-1] == "3.0"
    assert sum(row[:1] == ["pretrained:single"] for row in rows) == 1
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert [score["reader"] for score in saved["ocr"]["scores"]] == ["pretrained:single", "fake"]
    assert saved["ocr"]["scores"][1]["exact_match"] == 0.8
    picture = saved["ocr"]["pictures"][1]
    assert (picture["image"], picture["digits"], picture["readings"]["fake"]) == ("n42.png", [4, 2], [4, 2])
    assert saved["versions"]["torch"]


def test_images_may_lie_outside_the_folder_of_their_labels(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "labels"
    elsewhere.mkdir()
    (elsewhere / "labels.jsonl").write_text(json.dumps({"image": str(folder / "n42.png"), "digits": "42"}))
    (picture,) = ocr.to_dict([], ocr.load_labels(str(elsewhere)))["pictures"]
    assert picture == {"image": str(folder / "n42.png"), "digits": [4, 2], "readings": {}}


def test_a_wrong_folder_ends_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^images=gone is not a directory: name a folder with labels.jsonl or .*$"):
        ocr.load_labels("gone")
    with pytest.raises(NotFoundError, match="contains neither labels.jsonl nor labels.csv"):
        ocr.load_labels(str(tmp_path))
    (folder / "n0.png").write_text("just words")
    with pytest.raises(UserError, match=r"n0.png is not a readable image"):
        ocr.compare_readers([OcrReader("any", lambda image: [], 1)], ocr.load_labels(str(folder)))


def test_our_model_is_not_compared_on_pictures_that_it_was_trained_on(folder: Path, tmp_path: Path) -> None:
    model, card = weights.load("pretrained:single")
    labels = ocr.load_labels(str(folder))
    weights.save(model, tmp_path / "weights.safetensors", data=card["data"], trained_images=join_digests(labels[:2]))
    with pytest.raises(UserError, match=r"was trained on 2 of these 5 pictures, such as .*n7.png: name other pictures"):
        ocr.build_readers(str(tmp_path / "weights.safetensors"), None, labels)


def test_suite_ocr_needs_pictures_and_is_not_part_of_all() -> None:
    assert "ocr" not in BenchConfig().suites
    assert BenchConfig(["ocr", "all"], images="folder").suites == [*BenchConfig().suites, "ocr"]
    with pytest.raises(UserError, match="suite=ocr needs images=DIR"):
        BenchConfig("ocr")
    with pytest.raises(UserError, match="suite=ocr needs images=DIR"):
        BenchConfig("ocr", images="")
    with pytest.raises(UserError, match="images=folder is read by suite=ocr alone"):
        BenchConfig("rendering", images="folder")


@pytest.mark.parametrize("name", ocr_readers.BASELINES)
def test_baselines_read_printed_digits_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if command := ocr_readers.missing_baselines().get(name):
        pytest.skip(f"{name} is not installed: {command}")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connects to a network"))
    for reader in ocr_readers.BASELINES[name].build():
        assert reader.num_bytes > 1e6
        for text in ("42", "1234", "80519"):
            assert reader.read(draw(text).convert("RGB")) == [*map(int, text)]
        if not reader.name.endswith("small rec"):  # which takes a picture as one line
            assert reader.read(draw("314\n159").convert("RGB")) == [3, 1, 4, 1, 5, 9]
        assert reader.read(Image.new("RGB", (200, 60), "white")) == []
