"""The page to play with, as a person uses it: with a mouse, a finger, a clipboard, on a phone, without a network."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

import mnist_seq
from mnist_seq.config.serialization import data_from_dict
from mnist_seq.serving import heldout_scenes
from mnist_seq.serving.heldout_scenes import Scene

pytestmark = pytest.mark.browser
SEVEN = ((0.27, 0.22), (0.72, 0.22), (0.45, 0.8))
ONE = ((0.5, 0.2), (0.5, 0.8))
"""Strokes, as shares of a digit's frame."""
PATIENCE = 60_000
"""Milliseconds for the page to follow, on a machine that is busy."""


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and where its page is."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    command = [sys.executable, "-m", "mnist_seq.app", "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as (_, place):
        yield place


class Visit:
    """A person at the page."""

    def __init__(self, chromium: Any, address: str, reader: str, width: int = 1200, scheme: str = "light") -> None:
        phone = {"has_touch": True, "is_mobile": True} if width < 500 else {}
        size = {"width": width, "height": 900}
        self.page = chromium.new_context(viewport=size, color_scheme=scheme, **phone).new_page()
        self.page.set_default_timeout(PATIENCE)
        self.fetched: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.choose(reader)
        self.page.get_by_text(f"{reader} reads").wait_for()

    def choose(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).click()

    def frame(self) -> Any:
        from playwright.sync_api import expect

        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        canvas = self.page.locator("canvas.upper-canvas")
        expect(canvas).to_have_count(1, timeout=PATIENCE)  # the last reader's is gone
        canvas.scroll_into_view_if_needed()
        self.page.wait_for_timeout(500)  # to settle
        return canvas.bounding_box()

    def draw(self, stroke: tuple[tuple[float, float], ...]) -> None:
        at, mouse = self.frame(), self.page.mouse
        (x, y), *others = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in stroke]
        mouse.move(x, y)
        mouse.down()
        for x, y in others:
            mouse.move(x, y, steps=12)
        mouse.up()

    def draw_by_finger(self, stroke: tuple[tuple[float, float], ...]) -> None:
        at, session = self.frame(), self.page.context.new_cdp_session(self.page)
        points = [{"x": at["x"] + x * at["width"], "y": at["y"] + y * at["height"]} for x, y in stroke]
        steps = np.linspace(0, 1, 12)
        path = [
            {key: one[key] + (other[key] - one[key]) * step for key in "xy"}
            for one, other in pairwise(points)
            for step in steps
        ]
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": path[:1]})
        for point in path:
            session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def sees(self, digits: list[int], nth: int = 0) -> None:
        """Until the page shows this reading."""
        from playwright.sync_api import expect

        reading = self.page.locator("ol.digits").nth(nth).locator("b")
        expect(reading).to_have_text([*map(str, digits)], timeout=PATIENCE)

    def overflow(self) -> int:
        """Pixels that stick out sideways of the page or of what scrolls in it."""
        parts = (
            "[document.documentElement, ...document.querySelectorAll('[data-testid=stMain], .stMainBlockContainer')]"
        )
        return int(self.page.evaluate(f"Math.max(...{parts}.map(it => it.scrollWidth - it.clientWidth))"))


def files(images: list[np.ndarray]) -> list[dict[str, Any]]:
    found = []
    for place, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="png")
        found.append({"name": f"{place}.png", "mimeType": "image/png", "buffer": file.getvalue()})
    return found


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Two test scenes that the reader of grids reads right."""
    reader = mnist_seq.load("grid")
    of = heldout_scenes.load(data_from_dict(reader.card["data"]))
    found = (heldout_scenes.scene(of, index, reader.model.spec) for index in range(100))
    right = [scene for scene in found if scene.right(reader.read(scene.image).digits)]
    return right[:2]


def test_what_is_drawn_by_mouse_is_read_undone_and_cleared(chromium: Any, address: str) -> None:
    visit = Visit(chromium, address, "single")
    visit.draw(SEVEN)
    visit.sees([7])
    for _ in range(2):  # an undo that leaves the same twice
        visit.draw(((0.2, 0.2), (0.8, 0.8), (0.2, 0.8), (0.8, 0.2)))
        visit.page.wait_for_timeout(2000)
        visit.page.locator(".st-key-undo button").click()
        visit.sees([7])
    visit.page.locator(".st-key-clear button").click()
    visit.page.get_by_text("What you draw is read here").wait_for()
    visit.draw(ONE)
    visit.sees([1])
    assert not visit.complaints


def test_what_is_drawn_by_finger_is_read(chromium: Any, address: str) -> None:
    visit = Visit(chromium, address, "single", width=390)
    visit.draw_by_finger(SEVEN)
    visit.sees([7])


def test_grids_that_are_uploaded_and_pasted_are_read(chromium: Any, address: str, scenes: list[Scene]) -> None:
    visit = Visit(chromium, address, "grid")
    visit.choose("Upload")
    uploaded, pasted = files([scene.image for scene in scenes])
    visit.page.set_input_files("input[type=file]", [uploaded])
    visit.sees(scenes[0].digits)
    visit.page.evaluate(
        """bytes => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        list(pasted["buffer"]),
    )
    visit.sees(scenes[1].digits, nth=1)
    visit.sees(scenes[0].digits)
    attention = visit.page.locator(".ms").nth(1).locator("figcaption")
    assert attention.all_inner_texts() == ["as it sees it", *map(str, scenes[0].digits), "end"]


def test_what_is_no_picture_is_said_in_a_line(chromium: Any, address: str) -> None:
    visit = Visit(chromium, address, "grid")
    visit.choose("Upload")
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"hello"}
    visit.page.set_input_files("input[type=file]", [broken, *files([np.zeros((90, 90), np.uint8)])])
    visit.page.get_by_text("broken.png is not a readable PNG, JPEG or WebP file.").wait_for()
    visit.page.get_by_text("I see no ink.").wait_for()
    assert not visit.page.get_by_text("Traceback").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_needs_no_network_and_fits(chromium: Any, address: str, scheme: str, width: int) -> None:
    visit = Visit(chromium, address, "grid", width, scheme)
    for way in ("Draw", "Upload", "Photograph", "Test scenes"):
        visit.choose(way)
        visit.page.wait_for_timeout(1500)
        assert visit.overflow() <= 0, f"{way} sticks out"
    visit.page.locator(".st-key-next button").click()
    visit.page.get_by_text("Test scene 1 of grid").wait_for()
    visit.page.get_by_text(re.compile("It shows( [0-9]){4}")).wait_for()
    assert visit.overflow() <= 0
    hosts = {urlparse(url).hostname for url in visit.fetched if url.startswith(("http", "ws"))}
    assert hosts == {"127.0.0.1"}
    colours = "['color', 'backgroundColor'].map(it => getComputedStyle(document.querySelector('.stApp'))[it])"
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in visit.page.evaluate(colours))
    assert (paper < ink) == (scheme == "dark")
    assert not visit.complaints


def test_the_ways_are_walked_by_keyboard(chromium: Any, address: str) -> None:
    visit = Visit(chromium, address, "grid")
    visit.page.get_by_role("radio", name="Draw", exact=True).focus()
    for _ in range(12):
        if visit.page.evaluate("document.activeElement.innerText") == "Test scenes":
            break
        visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_text("Test scene 0 of grid").wait_for()


def test_ctrl_c_ends_it_quietly() -> None:
    with served() as (process, _):
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in said
