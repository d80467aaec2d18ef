"""One command for all of them: `mnist-seq train` is `python -m mnist_seq.train`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from mnist_seq import __main__ as entry
from tests.e2e.background_command import environment

PACKAGE = Path(entry.__file__).parent

SCRIPT = "import sys\nfrom mnist_seq.__main__ import main\n\nif __name__ == '__main__':\n    sys.exit(main())\n"
"""What an installer writes for `[project.scripts]`."""


def test_every_file_with_a_main_is_a_command_of_the_script() -> None:
    files = [path for path in PACKAGE.glob("*.py") if path.stem != "__main__"]
    assert sorted(entry.COMMANDS) == sorted(path.stem for path in files if "__name__ == " in path.read_text())
    scripts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["mnist-seq"].partition(":")
    assert getattr(import_module(module), function) is entry.main


def test_the_script_without_arguments_lists_every_command_with_its_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mnist-seq"])
    assert entry.main() == 0
    output = capsys.readouterr().out
    for name in entry.COMMANDS:
        assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in output.splitlines()), name


@pytest.mark.parametrize(("name", "hint"), [("trian", "did you mean train?"), ("fit", "lists them")])
def test_an_unknown_command_is_refused_in_a_line(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mnist-seq", name])
    assert entry.main() == 2
    output = capsys.readouterr().err
    assert hint in output
    assert output.count("\n") == 1


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_a_command_runs_as_its_module_does(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(entry.os, "name", system)
    monkeypatch.setattr(entry.os, "execv", lambda path, command: seen.append(command))
    monkeypatch.setattr(entry.subprocess, "call", lambda command: seen.append(command) or 3)
    monkeypatch.setattr(sys, "argv", ["mnist-seq", "train", "-m", "seed=0,1"])
    code = entry.main()
    assert seen == [[sys.executable, "-m", "mnist_seq.train", "-m", "seed=0,1"]]
    assert code == 3 or system == "posix"


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = folder / "mnist-seq"
    path.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_help_of_the_script_is_that_of_the_command(tmp_path: Path) -> None:
    direct = [sys.executable, "-m", "mnist_seq.train", "--help"]
    output = subprocess.run(direct, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True).stdout
    assert script(tmp_path, "train", "--help").stdout == output != ""
    refused = script(tmp_path, "train", "model.num_heads=3")
    assert refused.returncode == 1
    assert refused.stderr.startswith("mnist_seq: model.num_heads=3 does not divide")
