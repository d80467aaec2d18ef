"""Types of the page's scripts, checked by TypeScript where npm can install it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mnist_seq.serving.page_builder import PAGE_DIR

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def checked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the page with its development tools."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("page") / "page"
    shutil.copytree(PAGE_DIR, folder)
    installed = subprocess.run([npm, "install", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"npm could not install TypeScript: {installed.stderr.strip()[-200:]}")
    return folder


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["npm", "run", "check"], cwd=folder, capture_output=True, text=True)


def test_scripts_have_no_type_errors(checked_folder: Path) -> None:
    checked = check(checked_folder)
    assert checked.returncode == 0, checked.stdout


def test_a_type_error_is_found(checked_folder: Path) -> None:
    wrong = checked_folder / "wrong.js"
    wrong.write_text('/** @type {number} */\nexport const WRONG = "text";\n')
    try:
        assert "wrong.js(2,14): error TS2322" in check(checked_folder).stdout
    finally:
        wrong.unlink()
