"""A person who visits the page, and what they write."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

PATIENCE = 20_000
"""Milliseconds."""
SEVEN = ((0.38, 0.2), (0.52, 0.2), (0.44, 0.8))
ONE = ((0.67, 0.3), (0.7, 0.2), (0.69, 0.8))
THREE = (
    *((0.1, 0.27), (0.18, 0.2), (0.24, 0.27), (0.23, 0.4), (0.16, 0.48)),
    *((0.25, 0.58), (0.24, 0.74), (0.17, 0.8), (0.09, 0.74)),
)
Strokes = tuple[tuple[tuple[float, float], ...], ...]
THREE_SEVEN_ONE: Strokes = (THREE, SEVEN, ONE)
"""Strokes, x y as fractions of the drawing area."""


class Visit:
    """A person who has opened the file, offline, or the page of a service."""

    def __init__(
        self,
        chromium: Any,
        address: Path | str,
        width: int = 1000,
        scheme: str = "light",
        ready: str | None = "Ready: write a number",
    ) -> None:
        phone = {"has_touch": True, "is_mobile": True} if width < 500 else {}
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **phone)
        context.set_offline(isinstance(address, Path))
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda it: it.type == "error" and self.complaints.append(it.text))
        self.page.goto(address.as_uri() if isinstance(address, Path) else address)
        if ready:
            self.says(ready)

    def says(self, text: str | re.Pattern[str]) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator("#result")).to_have_text(text, timeout=PATIENCE)

    def notices(self, text: str | re.Pattern[str]) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator("#notice")).to_have_text(text, timeout=PATIENCE)

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
        """Digits that can be chosen."""
        self._shows(digits, "#rows button")

    def reads(self, digits: list[int]) -> None:
        """Digits of a model that does not explain itself."""
        self._shows(digits, "#rows span.digit")

    def _shows(self, digits: list[int], kind: str) -> None:
        from playwright.sync_api import expect

        shown = self.page.locator(kind)
        expect(shown).to_have_text([re.compile(rf"^{digit}(> )?\d+ %$") for digit in digits], timeout=PATIENCE)
        assert self.complaints == []

    def upload(self, name: str, content: bytes) -> None:
        self.page.locator("#open").set_input_files([{"name": name, "mimeType": "image/png", "buffer": content}])


def written(width: int = 600, height: int = 200, *, strokes: Strokes = THREE_SEVEN_ONE) -> Image.Image:
    """3 7 1, or other strokes, in black ink on white paper."""
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(x * width, y * height) for x, y in stroke]
        pen.line(points, "black", max(3, height // 22), joint="curve")
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
