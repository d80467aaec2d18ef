"""The commands and Python code of every README, and how tests shorten them.

Commands stand in bash fences and run from the root of the repository, in their order. They may use what commands of
other READMEs leave under outputs/. What no test can run (other programs, servers, clusters) stands in fences without a
language.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mnist_seq.config.bench import SUITES

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "mnist_seq" / "pretrained"
"""Model cards lie in its folders: they are written by `export`, and their example reads a photo of the user's."""
READMES = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    + [it for folder in ("configs", "mnist_seq", "tests") for it in (ROOT / folder).rglob("README.md")]
    if path.parent.parent != CARDS
)
_FENCE = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE_HEADER = re.compile(r"# (\w+\.py)\n")
"""First line of a Python fence that is a file."""
_OUTPUT_KEYS = ("hydra.run.dir=", "hydra.sweep.dir=", "output_dir=", "output=", "preview=")
SHORT = ["model.dim=16", "model.num_heads=2", "data.digits=uci", "data.val_scenes=50", "trainer=cpu"]
SHORTER = {"model.encoder_depth=1", "trainer.max_steps=4", "trainer.val_check_interval=2", "data.batch_size=16"}


def commands(path: Path) -> list[list[str]]:
    """The words of each command of a README; lines with a <placeholder> are left out."""
    lines = "\n".join(_fences(path, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if not re.search(r"<[\w ]+>", line.split(" #")[0])]
    return [["python", "-m", f"mnist_seq.{it[1]}", *it[2:]] if it[0] == "mnist-seq" else it for it in words if it]


def python_code(path: Path) -> str:
    """All Python code of a README that is no file."""
    return "\n".join(block for block in _fences(path, "python") if not _FILE_HEADER.match(block))


def python_files() -> dict[str, str]:
    """Name -> content of the Python fences that begin with `# name.py`, of all READMEs."""
    blocks = [block for path in READMES for block in _fences(path, "python")]
    return {header[1]: block for block in blocks if (header := _FILE_HEADER.match(block))}


def used_outputs(text: str) -> set[str]:
    """Paths under outputs/ that a command or code reads."""
    words = [word for word in text.split() if not word.startswith(_OUTPUT_KEYS)]
    return {path.rstrip("/.") for word in words for path in re.findall(r"outputs/[\w/.-]+", word)}


def command_that_makes(path: str) -> list[str] | None:
    """The first command, in any README, that writes this path or a folder above it."""
    folders = {path, *(str(parent) for parent in Path(path).parents)}
    for readme in READMES:
        for words in commands(readme):
            if any(word.startswith(_OUTPUT_KEYS) and word.partition("=")[2] in folders for word in words):
                return words
    return None


def shorten(words: list[str]) -> list[str]:
    """The command with a tiny model, few steps and few scenes, unless it says so itself."""
    command, keys = words[2].removeprefix("mnist_seq."), {word.partition("=")[0] for word in words}
    if "--cfg" in words or "--help" in words:
        return words
    if command in ("bench", "serve"):
        suites = [word.partition("=")[2].strip("[]").split(",") for word in words if word.startswith("suite=")]
        assert {suite for names in suites for suite in names} <= {*SUITES, "all"}
        return [*words, "--cfg", "job"]
    if command in ("evaluate", "compare"):
        if command == "compare" and not any("," in word for word in words):  # a sweep, by its own metrics
            return words
        uci = "data" in keys and "data.digits" not in keys
        return [*words, *["scenes=50"] * ("scenes" not in keys), *["data.digits=uci"] * uci]
    if command == "results":
        kept = [
            word
            for word in words
            if not word.startswith(("models=", "scenes=", "robustness_scenes=", "readme=", "tables="))
        ]
        return [*kept, "models=[single]", "scenes=300", "robustness_scenes=50"]
    if command == "search":
        kept = [word for word in words if not word.startswith(("n_trials=", "overrides="))]
        tiny = ",".join(f"'{it}'" for it in (*SHORT, *sorted(SHORTER), "data=grid"))
        return [*kept, "n_trials=2", f"overrides=[{tiny}]"]
    if command == "synthesise":
        return [*words, *["data.digits=uci"] * ("data.digits" not in keys)]
    return _shorten_training(words, keys) if command == "train" else words


def _shorten_training(words: list[str], keys: set[str]) -> list[str]:
    if "experiment" in keys:  # whole studies and recipes are only composed
        return [*words[:3], *(word for word in words[3:] if word not in ("-m", "--multirun")), "--cfg", "job"]
    words = ["seed=0" if word.startswith("seed=") else word for word in words]
    kept = [word for word in words if not word.startswith("trainer.max_steps")]
    if "resume" in keys:
        return [*kept, "trainer.max_steps=6"]
    if "model=custom" in words:
        return [*kept, *(it for it in [*SHORT, *sorted(SHORTER)] if not it.startswith("model."))]
    return [*kept, *SHORT, *sorted(it for it in SHORTER if it.partition("=")[0] not in keys - {"trainer.max_steps"})]


def shorten_code(code: str) -> str:
    """Python code with a tiny model, few steps and digits that need no download."""
    overrides = ", ".join(f'"{it}"' for it in [*SHORT, *sorted(SHORTER)])
    code = re.sub(r'"trainer.max_steps=\d+"', overrides, code)
    tiny = '"model.dim=16", "data.digits=uci", "data.batch_size=8", "data.val_scenes=8")'
    code = code.replace('"model.dim=64")', tiny)
    return code.replace('split="test", seed=0', '"data.digits=uci", split="test", seed=0')


def _fences(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [block for fence_language, block in _FENCE.findall(text) if fence_language == language]
