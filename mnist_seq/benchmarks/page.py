"""Suite page: the page in one file, in Chromium, without network."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from mnist_seq.benchmarks.timer import Measurement, summarize
from mnist_seq.compose_config import compose_training
from mnist_seq.data import datasets
from mnist_seq.errors import UserError

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

NUM_LOADS = 5
"""Times that the page is opened."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PICTURE_SIZE = (500, 300)
"""Width and height of the pictures, pixels."""
_WAIT = """async ([name, count]) => {
    while (performance.getEntriesByName(name).length < count) await new Promise((resolve) => setTimeout(resolve, 5));
}"""
"""Waits for entries of a name; Playwright's own way evaluates text, which the policy of the page forbids."""


def page(config: BenchConfig) -> list[Measurement]:
    """The exported page in Chromium, from a file, without network: its size, time to ready, and time of a picture."""
    with tempfile.TemporaryDirectory() as folder, running_browser() as browser:
        path = _export(config, folder)
        ready, pictures = [], _pictures(config.repeats)
        for _ in range(NUM_LOADS):
            opened = browser.new_page()
            opened.context.set_offline(True)
            opened.goto(path.as_uri())
            opened.evaluate(_WAIT, ["ready", 1])
            ready.append(opened.evaluate("performance.getEntriesByName('ready')[0].startTime"))
            if len(ready) < NUM_LOADS:
                opened.close()
        for index, picture in enumerate(pictures):
            file = {"name": f"{index}.png", "mimeType": "image/png", "buffer": picture}
            opened.locator("#open").set_input_files([file])
            opened.evaluate(_WAIT, ["read", index + 1])
        readings = opened.evaluate("performance.getEntriesByName('read').map(({ duration }) => duration)")[2:]
        return [
            summarize("size of the file", "MB", [path.stat().st_size / 1e6]),
            summarize("ready after opening", "s", (it / 1000 for it in ready)),
            summarize(f"picture of {_PICTURE_SIZE[0]}x{_PICTURE_SIZE[1]} pixels, time to read", "ms", readings),
        ]


def _export(config: BenchConfig, folder: str) -> Path:
    arguments = [f"run={config.run}", "format=page", f"output_dir={folder}", "name=page"]
    arguments += [] if config.trust is None else [f"trust={config.trust}"]
    command = [sys.executable, "-m", "mnist_seq.export", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise UserError(f"run={config.run} cannot be exported: {done.stderr.strip()}")
    return Path(folder, "page.html")


def _pictures(repeats: int) -> list[bytes]:
    """Draw numbers in dark ink on white paper, as PNG files: two of them to warm up."""
    scenes = datasets.load(compose_training(["data=line", "data.digits=uci"]).data).splits["test"][: repeats + 2]
    files = []
    for scene in scenes.images[:, 0]:
        image = ImageOps.invert(Image.fromarray(scene.numpy()))
        image = ImageOps.pad(image, _PICTURE_SIZE, color="white")
        file = io.BytesIO()
        image.save(file, "PNG")
        files.append(file.getvalue())
    return files


@contextmanager
def running_browser() -> Iterator[Any]:
    """Run Chromium.

    Raises:
        UserError: Playwright or Chromium is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise UserError("suite=page needs playwright: pip install playwright") from error
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        raise UserError("suite=page needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
