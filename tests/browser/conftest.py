"""A real browser: Chromium or Chrome, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mnist_seq.benchmarks.page import running_browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with running_browser() as browser:
        yield browser
