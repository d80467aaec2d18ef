"""The page in one file, in Chromium, from a disk, without network."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mnist_seq
from mnist_seq.config import ExportConfig
from mnist_seq.export import _export_page

pytestmark = pytest.mark.browser
PATIENCE = 20_000
"""Milliseconds."""
SEVEN = ((0.1, 0.25), (0.2, 0.25), (0.14, 0.8))
ONE = ((0.45, 0.2), (0.45, 0.8))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return _export_page(ExportConfig(run=["pretrained:line", "pretrained:grid"], format="page", output_dir=str(folder)))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    import shutil

    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A person who has opened the file, offline."""

    def __init__(self, chromium: Any, file: Path, width: int = 1000, scheme: str = "light") -> None:
        phone = {"has_touch": True, "is_mobile": True} if width < 500 else {}
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **phone)
        context.set_offline(True)
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda it: it.type == "error" and self.complaints.append(it.text))
        self.page.goto(file.as_uri())
        self.says("Ready: write a number")

    def says(self, text: str | re.Pattern[str]) -> None:
        from playwright.sync_api import expect

        expect(self.page.get_by_role("status")).to_have_text(text, timeout=PATIENCE)

    def draw(self, *strokes: tuple[tuple[float, float], ...]) -> None:
        box, mouse = self.page.locator("#drawing").bounding_box(), self.page.mouse
        for stroke in strokes:
            points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
            mouse.move(*points[0])
            mouse.down()
            for point in points[1:]:
                mouse.move(*point, steps=10)
            mouse.up()

    def sees(self, digits: list[int]) -> None:
        from playwright.sync_api import expect

        buttons = self.page.locator("#rows button")
        expect(buttons).to_have_text([re.compile(rf"^{digit}\d+ %$") for digit in digits], timeout=PATIENCE)
        assert self.complaints == []

    def upload(self, name: str, content: bytes) -> None:
        self.page.locator("#open").set_input_files([{"name": name, "mimeType": "image/png", "buffer": content}])


def _png(image: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", **options)
    return file.getvalue()


def test_what_is_drawn_is_read_while_one_writes_undone_and_cleared(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(SEVEN)
    visit.sees([7])
    visit.draw(ONE)
    visit.sees([7, 1])
    visit.page.get_by_role("button", name="Undo").click()
    visit.sees([7])
    visit.page.get_by_role("button", name="Clear").click()
    visit.says("Ready: write a number")
    assert visit.page.locator("#details").is_hidden()
