"""The page in one file, in Chromium, from a disk, without network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import mnist_seq
from mnist_seq.serving.page_builder import PAGE_DIR, PageModel, build_page
from tests.browser.visit import ONE, SEVEN, THREE, THREE_SEVEN_ONE, Visit, encoded, written

pytestmark = pytest.mark.browser


def test_models_are_compared_on_one_picture_however_often_one_asks(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(*THREE_SEVEN_ONE)
    visit.sees([3, 7, 1])
    visit.page.evaluate("for (const _ of [1, 2, 3]) document.getElementById('compare').click()")
    lines = visit.page.locator("#comparison tbody tr")
    lines.nth(1).get_by_text(re.compile(r"^\d+ ms$")).wait_for()
    texts = [lines.nth(index).inner_text() for index in range(lines.count())]
    assert len(texts) == 2
    assert texts[0].startswith("line\t371\t"), texts
    assert re.match(r"grid\t[\d/ ]+\t", texts[1]), texts
    visit.page.locator("#rows button").first.click()
    assert lines.count() == 2, "the picture is the same, whatever is chosen"
    visit.page.set_viewport_size({"width": 700, "height": 900})
    visit.page.wait_for_timeout(300)
    visit.sees([3, 7, 1])
    assert lines.count() == 2, "the picture is the same, whatever its size on the screen"
    assert lines.first.is_visible()
    visit.draw(((0.9, 0.4), (0.9, 0.6)))
    visit.page.locator("#comparison").wait_for(state="hidden")


def test_a_chosen_digit_shows_its_attention_and_alternatives(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(*THREE_SEVEN_ONE)
    visit.sees([3, 7, 1])
    centres = []
    for index in range(3):
        visit.page.locator("#rows button").nth(index).click()
        shade = visit.page.evaluate(
            """() => {
                const {width, height} = document.getElementById("overlay");
                const {data} = document.getElementById("overlay").getContext("2d").getImageData(0, 0, width, height);
                let [sum, weighted] = [0, 0];
                for (let i = 0; i < width * height; i++) { sum += data[4*i+3]; weighted += data[4*i+3] * (i % width); }
                return weighted / sum / width;
            }"""
        )
        centres.append(shade)
        rows = visit.page.locator("#alternatives tr")
        assert rows.count() == 2
        assert rows.first.locator("th").inner_text() == "371"[index]
    assert centres == sorted(centres), "the model looks from left to right"
    for head in ("head 1", "all heads"):
        visit.page.get_by_label(head).check()
    visit.sees([3, 7, 1])


@pytest.mark.parametrize("way", ["open", "paste", "drop"])
def test_a_picture_is_opened_pasted_or_dropped(way: str, chromium: Any, page_file: Path) -> None:
    visit, picture = Visit(chromium, page_file), encoded(written())
    if way == "open":
        visit.upload("number.png", picture)
    else:
        visit.page.evaluate(
            """([way, content]) => {
                const bytes = Uint8Array.from(atob(content), (it) => it.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], "number.png", {type: "image/png"}));
                document.dispatchEvent(way === "paste"
                    ? new ClipboardEvent("paste", {clipboardData: data})
                    : new DragEvent("drop", {dataTransfer: data, cancelable: true}));
            }""",
            [way, base64.b64encode(picture).decode()],
        )
    visit.sees([3, 7, 1])


def test_first_of_several_pictures_is_opened_and_the_others_are_told(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (it) => it.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File(["text"], "notes.txt", {type: "text/plain"}));
            data.items.add(new File([bytes], "number.png", {type: "image/png"}));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
        }""",
        base64.b64encode(encoded(written())).decode(),
    )
    visit.sees([3, 7, 1])
    visit.notices("Only one of the 2 files was opened: number.png")


def test_a_turned_photograph_and_one_of_12_megapixels_are_read(chromium: Any, page_file: Path) -> None:
    visit, exif = Visit(chromium, page_file), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    visit.upload("turned.jpg", encoded(written().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif))
    visit.sees([3, 7, 1])
    visit.upload("large.jpg", encoded(written(4000, 3000, strokes=(SEVEN, ONE)), "JPEG"))
    visit.sees([7, 1])


def test_rows_that_are_not_read_are_told(chromium: Any, page_file: Path) -> None:
    visit, row = Visit(chromium, page_file), written(strokes=(SEVEN, ONE))
    sheet = Image.new("RGB", (row.width, 10 * row.height))
    for index in range(10):
        sheet.paste(row, (0, index * row.height))
    visit.upload("ten_rows.png", encoded(sheet))
    visit.sees([7, 1] * 8)
    assert visit.page.get_by_text("The picture has 2 more rows, which were not read.").is_visible()


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n broken", b"just text", b""])
def test_what_is_no_picture_gets_one_sentence_and_the_page_goes_on(
    content: bytes, chromium: Any, page_file: Path
) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(SEVEN)
    visit.sees([7])
    visit.upload("broken.png", content)
    visit.notices(re.compile("^This file is not a picture that your browser can open"))
    visit.sees([7])
    announced = visit.page.locator("#announcement").get_by_text("This file is not a picture")
    announced.wait_for(state="attached")
    visit.page.get_by_role("button", name="Undo").click()
    visit.draw(SEVEN, ONE)
    visit.sees([7, 1])
    assert visit.page.locator("#notice").is_hidden()


def test_names_and_metadata_of_files_are_never_markup(chromium: Any, page_file: Path) -> None:
    visit, info = Visit(chromium, page_file), PngInfo()
    info.add_text("Title", "<img src=x onerror=alert(1)>")
    visit.upload("<img src=x onerror=alert(1)>.png", encoded(written(), pnginfo=info))
    visit.sees([3, 7, 1])
    assert visit.page.locator("img").count() == 0


def test_name_of_a_model_is_never_markup(chromium: Any, page_file: Path, tmp_path: Path) -> None:
    hostile = "<!--<script></script><img src=x onerror=alert(1)>"
    text = page_file.read_text(encoding="utf-8")
    cards = re.search(r'id="cards">(.*?)</script>', text)
    assert cards is not None
    models = [PageModel(card | {"name": hostile}, b"") for card in json.loads(cards[1])]
    (tmp_path / "hostile.html").write_text(build_page(models), encoding="utf-8")
    page = chromium.new_context().new_page()
    page.goto((tmp_path / "hostile.html").as_uri())
    page.get_by_label(hostile, exact=True).first.wait_for()
    assert page.locator("img").count() == 0


def test_the_last_of_several_pictures_is_shown(chromium: Any, page_file: Path) -> None:
    """However long the first takes to be decoded."""
    visit = Visit(chromium, page_file)
    visit.upload("large.png", encoded(written(4000, 3000)))
    visit.upload("small.png", encoded(written(300, 100, strokes=(SEVEN,))))
    visit.sees([7])
    visit.page.wait_for_timeout(1500)
    visit.sees([7])


def test_policy_blocks_everything_from_elsewhere(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    failed = visit.page.evaluate(
        """async () => {
            const failed = [];
            await fetch("data:text/plain,x").catch(() => failed.push("fetch"));
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            if (!window.ran) failed.push("script");
            return failed;
        }"""
    )
    assert failed == ["fetch", "script"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000])
def test_page_fits_and_is_accessible(width: int, scheme: str, chromium: Any, page_file: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    visit = Visit(chromium, page_file, width, scheme)
    visit.draw(*THREE_SEVEN_ONE)
    visit.sees([3, 7, 1])
    overflow = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    serious = [it for it in axe.Axe().run(visit.page).response["violations"] if it["impact"] in ("serious", "critical")]
    assert serious == []


def test_keyboard_alone_leads_through_the_page(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    keyboard = visit.page.keyboard
    for _ in range(20):
        keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.id") == "example":
            break
    keyboard.press("Enter")
    visit.says(re.compile(r"sure$|^No digits$"))
    truth = visit.page.locator("#truth").inner_text()
    assert truth.startswith("Example 1 of 12, which the model has not seen: ")
    for _ in range(20):
        keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.parentElement.parentElement.className") == "digits":
            break
    keyboard.press("Enter")
    assert visit.page.locator("#rows button[aria-pressed=true]").count() == 1


def test_models_are_switched_and_each_has_its_examples(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.page.get_by_label("grid", exact=True).check()
    visit.page.get_by_role("button", name="Next example").click()
    visit.says(re.compile(r"^(\d ){3}\d, \d+ % sure$"))
    assert "Example 2 of 12" in visit.page.locator("#truth").inner_text()
    assert "grid reads" in visit.page.locator("#about").inner_text()
    visit.page.get_by_role("button", name="Compare the models").click()
    lines = visit.page.locator("#comparison tbody tr")
    lines.nth(1).wait_for()
    assert [line.split("\t")[0] for line in lines.all_inner_texts()] == ["line", "grid"]


def test_page_reads_what_the_reader_reads(chromium: Any, page_file: Path) -> None:
    """Of pictures whose pixels no decoder can see differently."""
    visit, reader = Visit(chromium, page_file), mnist_seq.load()
    for index in range(12):
        strokes = (THREE_SEVEN_ONE, (SEVEN, ONE), (THREE,))[index % 3]
        picture = written(320 + 40 * index, 160 + 10 * index, strokes=strokes).rotate(index - 6, fillcolor="white")
        visit.upload(f"{index}.png", encoded(picture))
        visit.sees(reader.read(picture).digits)


def test_suite_page_measures_size_and_times(tmp_path: Path) -> None:
    arguments = ["suite=page", "repeats=2", f"output_dir={tmp_path}"]
    subprocess.run([sys.executable, "-m", "mnist_seq.bench", *arguments], check=True, cwd=tmp_path)
    size, ready, reading = json.loads((tmp_path / "bench.json").read_text())["measurements"]["page"]
    assert 3 < size["median"] < 7
    assert ready["minimum"] > 0
    assert reading["minimum"] > 0


def test_vendored_files_are_those_that_are_named() -> None:
    folder = PAGE_DIR / "vendor"
    sums = [
        hashlib.sha256(content).hexdigest()
        for content in (
            (folder / "ort.wasm.bundle.min.mjs").read_bytes(),
            gzip.decompress((folder / "ort-wasm-simd-threaded.wasm.gz").read_bytes()),
        )
    ]
    assert re.findall(r"`([0-9a-f]{64})`", (folder / "README.md").read_text()) == sums
