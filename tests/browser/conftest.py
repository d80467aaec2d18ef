"""A real browser, Chromium or Chrome, driven by Playwright, and the page that it opens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_seq.benchmarks.page import running_browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, models = tmp_path_factory.mktemp("page"), "[pretrained:line,pretrained:grid]"
    options = [f"run={models}", "format=page", f"output_dir={folder}"]
    subprocess.run([sys.executable, "-m", "mnist_seq.export", *options], check=True, cwd=folder)
    return folder / "line.html"
