"""Every command and all Python code of every README run, shortened by overrides."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.background_command import environment
from tests.e2e.forked_command import run
from tests.e2e.readme_commands import (
    READMES,
    ROOT,
    SHORT,
    SHORTER,
    command_that_makes,
    commands,
    python_code,
    python_files,
    shorten,
    shorten_code,
    used_outputs,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository, since commands write into it."""
    copy = tmp_path / "mnist_seq"
    ignored = shutil.ignore_patterns(".venv", ".git", "outputs", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for name, code in python_files().items():
        (copy / name).write_text(code)
    return copy


def run_command(clone: Path, words: list[str]) -> None:
    """Run a command, after those that make the outputs that it reads."""
    make_outputs(clone, " ".join(words))
    _, _, module, *arguments = shorten(words)
    run(clone, module, *arguments)


def make_outputs(clone: Path, text: str) -> None:
    for path in sorted(used_outputs(text)):
        if not list(clone.glob(path)) and (maker := command_that_makes(path)):
            run_command(clone, maker)


def call(clone: Path, command: list[str]) -> None:
    variables = environment(PYTHONPATH=str(clone))
    done = subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_and_python_block_of_a_readme_runs(path: Path, clone: Path) -> None:
    ran: list[list[str]] = []
    for words in commands(path):
        if words[0] == "make":
            call(clone, [*words, "--dry-run"])
        elif words[:3] == ["python", "-m", "pytest"]:
            assert all((clone / word).exists() for word in words[3:] if word.startswith("tests"))
        elif words[:2] == ["python", "-m"]:
            if not already_made(clone, words, ran):
                run_command(clone, words)
            ran.append(words)
        else:
            pytest.fail(f"no test runs `{' '.join(words)}`: put it into a fence without a language")
    if code := python_code(path):
        make_outputs(clone, code)
        call(clone, [sys.executable, "-c", shorten_code(code)])


def already_made(clone: Path, words: list[str], ran: list[list[str]]) -> bool:
    """Whether a later command of the same README was run early, for its outputs."""
    folders = [word.partition("=")[2] for word in words if word.startswith("hydra.run.dir=")]
    return words not in ran and any((clone / folder).exists() for folder in folders)


def test_readmes_have_commands_and_code() -> None:
    assert len(commands(ROOT / "README.md")) >= 7
    assert "mnist_seq.fit(" in python_code(ROOT / "README.md")


def test_make_targets_exist_and_make_train_leaves_a_tested_run(clone: Path) -> None:
    listed = subprocess.run(["make", "help"], cwd=clone, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "train", "test", "lint", "format", "bench", "baselines", "clean", "lock"):
        assert re.search(rf"^ +make {target} ", listed, re.MULTILINE)
    if not (ROOT / ".venv/.stamp").exists():
        pytest.skip("make setup has not been run here")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    call(clone, ["make", "train", "--assume-old=.venv/.stamp", f"ARGS={' '.join([*SHORT, *sorted(SHORTER)])}"])
    (metrics,) = (clone / "outputs").glob("20*/*/metrics.json")
    assert '"test"' in metrics.read_text()
