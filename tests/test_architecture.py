"""How the house is built: which way imports run, how light the doors are, how long a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY

PACKAGE = Path(__file__).parent.parent / "mnist_seq"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = ("data", "nn", "evaluation", "training", "inference", "reporting", "benchmarks", "sweeps", "serving")
GROUND = ("__init__", "__main__", "atomic_io", "cli", "errors", "extras", "malloc", "override_shorthands", "provenance")
GROUND += ("run_dir", "run_lock", "vocabulary")
COMMANDS = tuple(path.stem for path in PACKAGE.glob("*.py") if path.stem not in GROUND)
FORBIDDEN = {
    "data": {"nn", "evaluation", "training", "inference", "reporting", "benchmarks", "sweeps", "serving"},
    "nn": {"data", "evaluation", "training", "inference", "reporting", "benchmarks", "sweeps", "serving"},
    "inference": {"evaluation", "training", "reporting", "benchmarks", "sweeps", "serving"},
    "evaluation": {"training", "reporting", "benchmarks", "sweeps", "serving"},
    "reporting": {"training", "benchmarks", "sweeps", "serving"},
    "training": {"benchmarks", "sweeps", "serving"},
    "benchmarks": {"sweeps", "serving"},
    "sweeps": {"benchmarks", "serving"},
    "serving": {"training", "benchmarks", "sweeps"},
}


def imported(path: Path, anywhere: bool = True) -> set[str]:
    """Modules that a file imports, in full; those for type checking alone left out."""
    tree = ast.parse(path.read_text())
    skipped = {id(node) for branch in ast.walk(tree) if _for_types(branch) for node in ast.walk(branch)}
    names = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return names


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def floor(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    if parts[0] == "config":
        return "ground"
    return parts[0] if len(parts) > 1 else "ground" if path.stem in GROUND else "command"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("mnist_seq.")}
    here = floor(path)
    assert not ours & FORBIDDEN.get(here, set())
    if path != PACKAGE / "__init__.py":
        assert not ours & set(COMMANDS), "nobody imports a command, the Python door apart"
    if here == "ground" and path.stem not in ("cli", "__main__") and path != PACKAGE / "__init__.py":
        assert not ours & {*FLOORS, "cli"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lightning_and_hydra_stay_where_they_belong(path: Path) -> None:
    outside = {name.split(".")[0] for name in imported(path)}
    name = str(path.relative_to(PACKAGE))
    without = ("nn", "evaluation", "inference", "reporting", "serving")
    if floor(path) in without or (floor(path) == "data" and name != "data/datamodule.py"):
        assert not outside & {"lightning", "hydra", "omegaconf"}
    if floor(path) != "reporting":
        assert "matplotlib" not in outside


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_does_one_thing(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem not in ("util", "utils", "helper", "helpers", "common", "misc")


def without_encoding(path: Path) -> list[str]:
    """Calls that read or write text in the encoding of the locale."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or "encoding" in {given.arg for given in node.keywords}:
            continue
        function = ast.unparse(node.func)
        modes = {
            part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        }
        owner, _, name = function.rpartition(".")
        opens = (
            name == "open"
            and owner not in ("Image", "Run", "os")
            and not any(re.fullmatch(r"[rwax]b\+?", mode) for mode in modes)
        )
        pipes = any(given.arg in ("text", "universal_newlines") for given in node.keywords) and "subprocess" in owner
        if name in ("read_text", "write_text", "FileHandler") or opens or pipes:
            found.append(f"{path.name}:{node.lineno}: {function}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_text_is_read_and_written_in_an_encoding_that_is_named(path: Path) -> None:
    assert not without_encoding(path)


def loaded_by(statement: str, folder: Path = PACKAGE.parent) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import mnist_seq", "import mnist_seq.train", "import mnist_seq.config"])
def test_the_doors_are_light(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "numpy", "lightning", "hydra", "matplotlib", "sklearn"}


OTHERS = {
    "lightning",
    "torchmetrics",
    "torchvision",
    "matplotlib",
    "wandb",
    "tensorboard",
    "optuna",
    "sqlalchemy",
    "plotly",
}
"""Packages that take long to import, each for a purpose of its own."""
PICTURE = PACKAGE.parent / ".github" / "seven.png"
READS = f"import mnist_seq; assert mnist_seq.load('single').read({str(PICTURE)!r}).digits == [7]"
SERVES = """
import sys, uvicorn
uvicorn.Server.run = lambda server, sockets: print("serves")
sys.argv = ["serve", "run=pretrained:single", "port=0"]
from mnist_seq.serve import main
main()
"""
TRAINS = f"import mnist_seq; mnist_seq.fit(*{TINY!r}, 'model=tiny', 'hydra.run.dir=run')"


def test_a_reader_reads_without_what_trained_it() -> None:
    loaded = loaded_by(READS)
    assert "torch" in loaded
    assert not loaded & (OTHERS | {"hydra", "omegaconf", "sklearn"})


def test_scenes_are_shown_without_what_trains_on_them() -> None:
    assert not loaded_by("import mnist_seq; mnist_seq.scenes('grid', 'data.digits=uci')[0]") & OTHERS


def test_a_service_serves_without_what_trained_its_reader() -> None:
    loaded = loaded_by(SERVES)
    assert {"serves", "fastapi"} <= loaded
    assert not loaded & OTHERS


def test_a_run_imports_no_logger_that_was_not_asked_for_and_no_search(tmp_path: Path) -> None:
    assert not loaded_by(TRAINS, tmp_path) & {"wandb", "tensorboard", "optuna", "sqlalchemy", "plotly", "onnx"}
