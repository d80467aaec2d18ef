"""Every command of the README runs; long ones are shortened by overrides."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.background_command import environment
from tests.e2e.forked_command import run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BASH = [
    line.split("#")[0].split()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
PYTHON = re.findall(r"```python\n(?!# mine.py)(.*?)```", README, re.DOTALL)
(MINE,) = re.findall(r"```python\n(# mine.py.*?)```", README, re.DOTALL)
SHORT = ["model.dim=16", "model.num_heads=2", "data.digits=uci", "data.val_scenes=50", "trainer=cpu"]
SHORTER = {"model.encoder_depth=1", "trainer.max_steps=4", "trainer.val_check_interval=2", "data.batch_size=16"}


def shortened(words: list[str]) -> list[str]:
    """The command with a tiny model and few steps, unless it says so itself."""
    if {"mnist_seq.evaluate", "mnist_seq.compare"} & set(words):
        return [*words, "scenes=50", *["data.digits=uci"] * any(word.startswith("data=") for word in words)]
    if "mnist_seq.search" in words:
        tiny = ",".join(f"'{it}'" for it in (*SHORT, *sorted(SHORTER), "data=grid"))
        return [*words[:-1], "n_trials=2", f"overrides=[{tiny}]"]
    if "mnist_seq.synthesise" in words:
        return [*words, "data.digits=uci"]
    if "mnist_seq.train" not in words or "--cfg" in words:
        return words
    words = ["seed=0" if word.startswith("seed=") else word for word in words]
    if any(word.startswith("resume=") for word in words):
        return [*(word for word in words if not word.startswith("trainer.max_steps")), "trainer.max_steps=6"]
    words = [word for word in words if not word.startswith("trainer.max_steps=")]
    if "model=custom" in words:
        return [*words, *(it for it in [*SHORT, *sorted(SHORTER)] if not it.startswith("model."))]
    named = {word.split("=")[0] for word in words}
    return [*words, *SHORT, *sorted(it for it in SHORTER if it.split("=")[0] not in named)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, since the commands write beside it."""
    copy = tmp_path_factory.mktemp("readme") / "mnist_seq"
    ignored = shutil.ignore_patterns(".venv", ".git", "outputs", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=ignored)
    (copy / "mine.py").write_text(MINE)
    return Path(copy)


def call(clone: Path, command: list[str], **extra: str) -> None:
    variables = environment(PYTHONPATH=str(clone), **extra)
    done = subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_the_commands_run_one_after_the_other(clone: Path) -> None:
    commands = [words for words in BASH if words[0] == "python"]
    assert len(commands) >= 7
    for words in commands:
        _, _, module, *arguments = shortened(words)
        run(clone, module, *arguments)


def test_the_make_targets_are_there_and_train_does_what_it_says(clone: Path) -> None:
    listed = subprocess.run(["make", "help"], cwd=clone, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "train", "test", "lint", "format", "bench", "baselines", "clean", "lock"):
        assert re.search(rf"^ +make {target} ", listed, re.MULTILINE)
    for words in (words for words in BASH if words[0] == "make"):
        call(clone, [*words, "--dry-run"])
    if not (ROOT / ".venv/.stamp").exists():
        pytest.skip("make setup has not been run here")
    shutil.copytree(ROOT / "configs", clone / "configs", dirs_exist_ok=True)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    call(clone, ["make", "train", "--assume-old=.venv/.stamp", f"ARGS={' '.join([*SHORT, *sorted(SHORTER)])}"])
    (metrics,) = (clone / "outputs").glob("20*/*/metrics.json")
    assert '"test"' in metrics.read_text()


def test_the_python_runs(clone: Path) -> None:
    code = "\n".join(PYTHON)
    code = re.sub(r'"trainer.max_steps=\d+"', ", ".join(f'"{it}"' for it in [*SHORT, *sorted(SHORTER)]), code)
    code = code.replace(
        '"model.dim=64")', '"model.dim=16", "data.digits=uci", "data.batch_size=8", "data.val_scenes=8")'
    )
    code = code.replace('split="test", seed=0', '"data.digits=uci", split="test", seed=0')
    assert "mnist_seq.fit(" in code
    call(clone, [sys.executable, "-c", code])
