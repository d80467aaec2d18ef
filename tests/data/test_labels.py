"""Labels are parsed as they are written, or raise with file and line; nothing is guessed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from mnist_seq.data import labels
from mnist_seq.errors import NotFoundError, UserError


def parse(directory: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> list[labels.Label]:
    """Write a label file beside three images, and parse it."""
    for image in ("0.png", "1.png", "\N{LATIN SMALL LETTER E WITH ACUTE}.png"):
        Image.new("L", (8, 8)).save(directory / image)
    (directory / name).write_bytes(text.encode(encoding))
    return labels.read_labels(directory)


def row(**keys: object) -> str:
    return json.dumps({"image": "0.png", "digits": [1, 2]} | keys)


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("3 1 4", [3, 1, 4]),
        ('"3,1,4"', [3, 1, 4]),
        (' "3, 1, 4"', [3, 1, 4]),
        ("314", [3, 1, 4]),
        ("0012", [0, 0, 1, 2]),
        ("0 0 1", [0, 0, 1]),
        ("7", [7]),
        ("", []),
        (" ", []),
    ],
)
def test_digits_parse_in_every_notation(tmp_path: Path, written: str, digits: list[int]) -> None:
    assert parse(tmp_path, f"image,digits\n0.png,{written}\n")[0].digits == digits
    (tmp_path / "labels.csv").unlink()
    text = json.dumps({"image": "0.png", "digits": written.replace('"', "")})
    assert parse(tmp_path, text, "labels.jsonl")[0].digits == digits


@pytest.mark.parametrize(
    "header", ["image,digits", "image,label", "image, digits", " Image ,LABEL", '"image", "digits"', "\nimage,digits"]
)
def test_header_parses_in_any_case_with_blanks(tmp_path: Path, header: str) -> None:
    assert [label.digits for label in parse(tmp_path, f"{header}\n0.png,3 1\n\n1.png,4\n")] == [[3, 1], [4]]


def test_columns_may_be_in_any_order_and_others_are_kept(tmp_path: Path) -> None:
    label = parse(tmp_path, "Writer,digits,image\nann,3 1,0.png\n")[0]
    assert (label.digits, label.columns) == ([3, 1], {"writer": "ann"})
    (tmp_path / "labels.csv").unlink()
    assert parse(tmp_path, row(writer="ann", boxes=[]), "labels.jsonl")[0].columns == {"writer": "ann"}


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("0.png,3", "0.png, 3"),
        ("image;digits", "image;digits"),
        ("image\tdigits", "image\tdigits"),
        ("image", "image"),
        ("file,digits", "file, digits"),
        ("image,digits,label", "image, digits, label"),
        ("image,digits,digits", "image, digits, digits"),
        ("image,label,writer,writer", "image, label, writer, writer"),
    ],
)
def test_other_headers_raise_with_their_columns(tmp_path: Path, header: str, columns: str) -> None:
    with pytest.raises(
        UserError, match=r"labels.csv:1: the columns are .*: start with the header image,digits"
    ) as error:
        parse(tmp_path, f"{header}\n0.png,3\n")
    assert f"the columns are {columns}: " in str(error.value)


@pytest.mark.parametrize("line", ["0.png", "0.png,9,4,5", "0.png,9,", ",,"])
def test_rows_with_missing_or_extra_cells_raise_with_their_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=rf"labels.csv:3: {line.count(',') + 1} cells for 2 columns, image,digits"):
        parse(tmp_path, f"image,digits\n1.png,3\n{line}\n")


@pytest.mark.parametrize(
    "written", ["3 x", "-1", "3.0", "12 3", '"3,,1"', "\N{ARABIC-INDIC DIGIT THREE}", "nan", "[3 1]"]
)
def test_malformed_digits_raise_in_csv_and_json_alike(tmp_path: Path, written: str) -> None:
    with pytest.raises(
        UserError, match=r'labels.csv:2: digits must be a list of 0..9, or text such as "3 1 4" or "314", not'
    ):
        parse(tmp_path, f"image,digits\n0.png,{written}\n")
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(UserError, match=r"labels.jsonl:1: digits must be a list of 0..9"):
        parse(tmp_path, json.dumps({"image": "0.png", "digits": written.replace('"', "")}), "labels.jsonl")


def test_unclosed_quote_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels.csv:3: malformed CSV"):
        parse(tmp_path, 'image,digits\n0.png,"3\n1.png,4')


def test_json_takes_a_single_number_and_the_key_label(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "\n".join([row(digits=7), '{"image": "1.png", "label": "08"}']), "labels.jsonl")
    assert [label.digits for label in parsed] == [[7], [0, 8]]


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_parses_with_and_without_a_byte_order_mark(tmp_path: Path, name: str, encoding: str) -> None:
    image = "\N{LATIN SMALL LETTER E WITH ACUTE}.png"
    line = json.dumps({"image": image, "digits": [3], "by": "a\N{LINE SEPARATOR}b"}, ensure_ascii=False)
    text = f"image,digits\r\n{image},3\r\n" if name == "labels.csv" else f"{line}\r\n"
    (label,) = parse(tmp_path, text, name, encoding)
    assert (label.image.name, label.digits) == (image, [3])


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings_raise_with_the_file(tmp_path: Path, name: str, encoding: str) -> None:
    image = "\N{LATIN SMALL LETTER E WITH ACUTE}.png" if encoding == "latin-1" else "0.png"
    line = json.dumps({"image": image, "digits": [3]}, ensure_ascii=False)
    with pytest.raises(UserError, match=rf"{name}.*: save it as UTF-8"):
        parse(tmp_path, f"image,digits\n{image},3\n" if name == "labels.csv" else f"{line}\n", name, encoding)


def test_two_label_files_raise(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text(row())
    with pytest.raises(UserError, match=r"contains both labels.jsonl and labels.csv: remove one"):
        parse(tmp_path, "image,digits\n0.png,3\n")


def test_header_without_rows_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels.csv is empty: expected lines like images/7.png,3 1 4"):
        parse(tmp_path, "image,digits\n")


def test_missing_image_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"labels.csv:2: .*9.png does not exist"):
        parse(tmp_path, "image,digits\n9.png,3\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"image": '], r"labels.jsonl:1: invalid JSON"),
        ([row(), "[1, 2]"], r"labels.jsonl:2: no image key: expected a line like \{"),
        ([row(), '{"digits": [1]}'], r"labels.jsonl:2: no image given"),
        (['{"image": "0.png"}'], r"labels.jsonl:1: no digits given"),
        ([row(label=[1, 2])], r"labels.jsonl:1: both digits and label given"),
        ([row(digits=[1, 10])], r"labels.jsonl:1: digits must be a list of 0..9, .*, not \[1, 10\]"),
        ([row(digits=12)], r"labels.jsonl:1: digits must be a list of 0..9, .*, not 12"),
        ([row(digits=None)], r"labels.jsonl:1: digits must be"),
        ([row(digits=[True])], r"labels.jsonl:1: digits must be"),
        ([row(digits=True)], r"labels.jsonl:1: digits must be"),
        ([row(image="9.png")], r"labels.jsonl:1: .*9.png does not exist"),
        ([row(boxes=[[0, 0, 1, 1]])], "boxes must be a list with one entry for each of 2"),
        ([row(boxes=4)], "labels.jsonl:1: boxes must be a list with one entry for each"),
        ([row(boxes=[{"x": 1}] * 2)], "a box must be four integers, x0 y0 x1 y1"),
        ([row(boxes=[[0, 0.5, 1, 1]] * 2)], "a box must be four integers"),
        ([row(sources=["a.png"] * 2)], "labels.jsonl:1: sources must be integer indices"),
        ([row(cells=[[1, 2], [None]])], "labels.jsonl:1: cells must be rows of equal length that contain"),
        ([row(cells=[[1, 3]])], "labels.jsonl:1: cells must be rows of equal length that contain"),
        ([row(cells=[1, 2])], "labels.jsonl:1: cells must be rows"),
        ([row(cells="1 2")], "labels.jsonl:1: cells must be rows"),
        ([""], "labels.jsonl is empty"),
    ],
)
def test_malformed_line_is_named_with_its_error(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse(tmp_path, "\n".join(lines), "labels.jsonl")
    assert "\n" not in str(error.value)


def draw(directory: Path, *names: str) -> Path:
    """Images with these names."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(directory / name)
    return directory


def digits_by_name(directory: Path) -> dict[str, list[int]]:
    return {label.image.relative_to(directory).as_posix(): label.digits for label in labels.read_labels(directory)}


def test_names_of_folders_are_labels(tmp_path: Path) -> None:
    draw(tmp_path, "07/a.png", "07/123_b.jpg", "none/c.png", ".cache/d.png")
    (tmp_path / "07" / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    assert labels.label_source(tmp_path) == "folder names"
    assert digits_by_name(tmp_path) == {"07/123_b.jpg": [0, 7], "07/a.png": [0, 7], "none/c.png": []}


def test_names_of_files_are_labels(tmp_path: Path) -> None:
    draw(tmp_path, "0012_scan.png", "12-2.png", "345.JPG", "none_1.png")
    (tmp_path / "notes.txt").touch()
    assert labels.label_source(tmp_path) == "file names"
    assert digits_by_name(tmp_path) == {
        "0012_scan.png": [0, 0, 1, 2],
        "12-2.png": [1, 2],
        "345.JPG": [3, 4, 5],
        "none_1.png": [],
    }


def test_label_files_count_more_than_names_of_folders_and_these_more_than_names_of_files(tmp_path: Path) -> None:
    draw(tmp_path, "1_a.png")
    assert labels.label_source(tmp_path) == "file names"
    draw(tmp_path, "2/3_a.png")
    assert labels.label_source(tmp_path) == "folder names"
    (tmp_path / "labels.csv").write_text("image,digits\n2/3_a.png,4\n")
    assert digits_by_name(tmp_path) == {"2/3_a.png": [4]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["7/a.png", "b.png", "c.png"],
            r"2 images, such as .*b.png, are not in a folder, unlike others: move them",
        ),
        (
            ["7/a.png", "seven/b.png"],
            r"seven contains images, but its name is not a number: name it after its digits",
        ),
        (
            ["1_a.png", "b.png", "1x.png"],
            r"2 of 3 images, such as .*1x.png, have no label .*: name them like 123_1x.png",
        ),
        (
            ["000.png", "001.png", "002.png"],
            r"names such as 000.png look like sequence numbers, not labels: name images like 123_000.png",
        ),
        ([f"{number}.png" for number in (1, 2, 4, 5, 6, 7)], "look like sequence numbers, not labels"),
        ([f"{number}_scan.png" for number in range(1, 13)], "names such as 10_scan.png look like sequence numbers"),
        (["20240131_120000.jpg", "20240131_120500.jpg"], "names such as 20240131_120000.jpg look like dates"),
        (["2024-01-31 12.34.56.jpg"], "names such as 2024-01-31 12.34.56.jpg look like dates"),
        (["2024-01-31_120500.jpg"], "names such as 2024-01-31_120500.jpg look like dates"),
        (["7/phone/a.png", "8/b.png"], r"phone contains images: move them to .*7, or write"),
        (["1234_a.jpg", "anna/5678_b.jpg"], r"anna contains images, but .*1234_a.jpg lies beside it: move them"),
    ],
)
def test_names_without_labels_raise(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        labels.read_labels(draw(tmp_path, *names))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"boxes": [[100, 30, 12, 40]]}, "a box must be two corners, x0 y0 x1 y1 in pixels"),
        ({"Split": "test"}, "write the key Split in lower case"),
    ],
)
def test_rows_that_would_be_misunderstood_raise(row: dict[str, object], message: str, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "1.png", "digits": [1]} | row))
    with pytest.raises(UserError, match=f"labels.jsonl:1: {message}"):
        labels.read_labels(tmp_path)


def test_names_of_files_may_hold_any_bytes(tmp_path: Path) -> None:
    """As those of an archive that was packed elsewhere."""
    (tmp_path / "314").mkdir()
    name = os.fsdecode(b"gr\xf6sse.png")
    try:
        Image.new("L", (8, 8)).save(tmp_path / "314" / name, "png")
    except OSError:
        pytest.skip("this file system holds only UTF-8")
    (label,) = labels.read_labels(tmp_path)
    assert (label.image.name, label.digits) == (name, [3, 1, 4])
