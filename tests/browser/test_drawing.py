"""Writing on the page with the pointer of a mouse or a finger, in Chromium."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.visit import ONE, SEVEN, THREE_SEVEN_ONE, Visit, encoded, written

pytestmark = pytest.mark.browser


def test_what_is_drawn_is_read_while_one_writes_undone_and_cleared(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(SEVEN)
    visit.sees([7])
    visit.draw(ONE)
    visit.sees([7, 1])
    visit.page.get_by_role("button", name="Undo").click()
    visit.sees([7])
    visit.page.keyboard.press("Control+z")
    visit.says("Ready: write a number")
    visit.draw(*THREE_SEVEN_ONE)
    visit.sees([3, 7, 1])
    visit.page.get_by_role("button", name="Clear").click()
    visit.says("Ready: write a number")
    assert visit.page.locator("#details").is_hidden()


def test_a_stroke_that_is_undone_while_it_is_drawn_ends(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(SEVEN)
    visit.sees([7])
    mouse, box = visit.page.mouse, visit.page.locator("#drawing").bounding_box()
    for undone in (1, 2):  # of two strokes, then of the only one
        mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.2 * box["height"])
        mouse.down()
        for _ in range(undone):
            visit.page.keyboard.press("Control+z")
        mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
        mouse.up()
        visit.sees([7]) if undone == 1 else visit.says("Ready: write a number")
    assert visit.complaints == []


def test_a_picture_that_opens_in_mid_stroke_ends_the_stroke(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    visit.draw(SEVEN)
    visit.sees([7])
    mouse, box = visit.page.mouse, visit.page.locator("#drawing").bounding_box()
    mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"])
    mouse.down()
    visit.upload("one.png", encoded(written(strokes=(ONE,))))
    visit.sees([1])
    mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"], steps=5)
    mouse.up()
    visit.page.get_by_role("button", name="Draw", exact=True).click()
    visit.page.get_by_role("button", name="Undo").click()
    visit.sees([7])
    visit.draw(ONE)
    visit.sees([7, 1])


def test_ink_stays_under_the_pointer_after_a_stroke_beyond_the_edge(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file)
    mouse, box = visit.page.mouse, visit.page.locator("#drawing").bounding_box()
    mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 1.5 * box["width"], box["y"] + 0.2 * box["height"], steps=5)
    mouse.up()
    visit.draw(((0.5, 0.5), (0.5, 0.9)))
    ink = visit.page.evaluate(
        """() => {
            const {width, height} = document.getElementById("drawing");
            const {data} = document.getElementById("drawing").getContext("2d").getImageData(0, 0, width, height);
            const row = Math.round(0.7 * height);
            const dark = [...Array(width).keys()].filter((x) => data[4 * (row * width + x)] < 128);
            return (dark[0] + dark[dark.length - 1]) / 2 / width;
        }"""
    )
    assert ink == pytest.approx(0.5, abs=0.01)


def test_a_touch_that_is_cancelled_leaves_no_ink(chromium: Any, page_file: Path) -> None:
    """Such as that of a palm."""
    visit = Visit(chromium, page_file, width=390)
    visit.draw(SEVEN)
    visit.sees([7])
    visit.page.evaluate(
        """() => {
            const canvas = document.getElementById("drawing");
            const {left, top} = canvas.getBoundingClientRect();
            for (const [type, x] of [["pointerdown", 20], ["pointermove", 200], ["pointercancel", 200]])
                canvas.dispatchEvent(new PointerEvent(type, {
                    pointerId: 7, pointerType: "touch", clientX: left + x, clientY: top + 20, bubbles: true}));
        }"""
    )
    visit.sees([7])
    visit.page.get_by_role("button", name="Undo").click()
    visit.says("Ready: write a number")


def test_what_is_drawn_before_the_model_is_ready_is_read(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file, ready=None)
    visit.draw(*THREE_SEVEN_ONE)
    visit.sees([3, 7, 1])


def test_a_finger_writes(chromium: Any, page_file: Path) -> None:
    visit = Visit(chromium, page_file, width=390)
    box, session = visit.page.locator("#drawing").bounding_box(), visit.page.context.new_cdp_session(visit.page)
    for stroke in THREE_SEVEN_ONE:
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in stroke]
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
        for one, other in pairwise(points):
            for step in np.linspace(0, 1, 8):
                point = {key: one[key] + (other[key] - one[key]) * step for key in "xy"}
                session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    visit.sees([3, 7, 1])
