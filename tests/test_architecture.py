"""The structure of the package: the direction of imports, light entry points, and the size of files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from mnist_seq.config.commands import COMMANDS
from tests.conftest import TINY

PACKAGE = Path(__file__).parent.parent / "mnist_seq"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
PARAMETERS = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
ABOVE = {
    "config": {"data", "nn", "inference", "evaluation", "training", "reporting", "benchmarks", "sweeps", "serving"},
    "ground": {"data", "nn", "inference", "evaluation", "training", "reporting", "benchmarks", "sweeps", "serving"},
    "data": {"nn", "inference", "evaluation", "training", "reporting", "benchmarks", "sweeps", "serving"},
    "nn": {"data", "inference", "evaluation", "training", "reporting", "benchmarks", "sweeps", "serving"},
    "inference": {"evaluation", "training", "reporting", "benchmarks", "sweeps", "serving"},
    "evaluation": {"training", "reporting", "benchmarks", "sweeps", "serving"},
    "reporting": {"training", "benchmarks", "sweeps", "serving"},
    "training": {"benchmarks", "sweeps", "serving"},
    "benchmarks": {"sweeps", "serving"},
    "sweeps": {"benchmarks", "serving"},
    "serving": {"training", "benchmarks", "sweeps"},
}
"""Room -> rooms that it must not import; `ground` are the files beside the rooms that are not commands."""
CORE = ["data/rng", "data/digits", "data/layouts", "data/reading_order", "data/augment", "data/render"]
CORE += ["data/datasets", "data/datamodule", "training/module", "training/optim", "training/metrics"]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Everything that a file imports, at its top, in functions and for type checking, in full."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return names


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    ours = {name for name in imported(path) if name.split(".")[0] == "mnist_seq"} - {"mnist_seq.__version__"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in ours}


def room(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1:
        return "api"
    if (PACKAGE / parts[1]).is_dir():
        return parts[1]
    return "command" if parts[1] in COMMANDS else "ground"


@PARAMETERS
def test_imports_run_one_way(path: Path) -> None:
    here, modules = room(module_name(path)), imported_modules(path)
    rooms = {room(module) for module in modules}
    assert not rooms & ABOVE.get(here, set())
    assert "command" not in rooms, "nobody imports a command"
    if here not in ("api", "command") and path.stem != "__main__":
        assert "api" not in rooms, "the package does not import its own API"
    if here == "config":
        assert modules <= {"mnist_seq.errors", *(name for name in MODULES if room(name) == "config")}


def test_no_module_imports_itself_through_others() -> None:
    """Imports in functions and for type checking are counted; so is `import mnist_seq`, the API."""
    try:
        TopologicalSorter({name: imported_modules(path) for name, path in MODULES.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@PARAMETERS
def test_lightning_and_hydra_stay_where_they_belong(path: Path) -> None:
    packages = {name.split(".")[0] for name in imported(path)}
    here = room(module_name(path))
    without = ("nn", "evaluation", "inference", "reporting", "serving")
    if here in without or (here == "data" and path.stem != "datamodule"):
        assert not packages & {"lightning", "hydra", "omegaconf"}
    if here != "reporting":
        assert "matplotlib" not in packages


@PARAMETERS
def test_a_file_is_short_and_named_after_what_it_does(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.stem not in ("util", "utils", "helper", "helpers", "common", "misc")


def test_the_core_is_read_in_an_hour() -> None:
    """It was to have 3,000 lines, blanks and docstrings included; a little room is left for new features."""
    files = [*(PACKAGE / "nn").glob("*.py"), *(PACKAGE / f"{name}.py" for name in CORE)]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert sum(lines.values()) <= 3200, lines


def without_encoding(path: Path) -> list[str]:
    """Calls that read or write text in the encoding of the locale."""
    calls = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or "encoding" in {keyword.arg for keyword in node.keywords}:
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
        pipes = (
            any(keyword.arg in ("text", "universal_newlines") for keyword in node.keywords) and "subprocess" in owner
        )
        if name in ("read_text", "write_text", "FileHandler") or opens or pipes:
            calls.append(f"{path.name}:{node.lineno}: {function}")
    return calls


@PARAMETERS
def test_text_is_read_and_written_in_a_named_encoding(path: Path) -> None:
    assert not without_encoding(path)


def loaded_by(statement: str, folder: Path = PACKAGE.parent) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"torch", "numpy", "lightning", "hydra", "omegaconf", "yaml", "matplotlib", "sklearn"}


@pytest.mark.parametrize("module", ["mnist_seq", "mnist_seq.config", "mnist_seq.train", "mnist_seq.__main__"])
def test_entry_points_are_light(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


def test_the_api_imports_nothing_of_the_package_until_it_is_called() -> None:
    assert {name for name in loaded_by("import mnist_seq") if name.startswith("mnist_seq")} == {"mnist_seq"}


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
"""Packages that are slow to import, each for one purpose."""
PICTURE = PACKAGE.parent / ".github" / "seven.png"
READ = f"import mnist_seq; assert mnist_seq.load('single').read({str(PICTURE)!r}).digits == [7]"
SERVE = """
import sys, uvicorn
uvicorn.Server.run = lambda server, sockets: print("serves")
sys.argv = ["serve", "run=pretrained:single", "port=0"]
from mnist_seq.serve import main
main()
"""
TRAIN = f"import mnist_seq; mnist_seq.fit(*{TINY!r}, 'model=tiny', 'hydra.run.dir=run')"


def test_inference_loads_no_training_package() -> None:
    loaded = loaded_by(READ)
    assert "torch" in loaded
    assert not loaded & (OTHERS | {"hydra", "omegaconf", "sklearn"})


def test_scenes_load_no_training_package() -> None:
    assert not loaded_by("import mnist_seq; mnist_seq.scenes('grid', 'data.digits=uci')[0]") & OTHERS


def test_a_service_loads_no_training_package() -> None:
    loaded = loaded_by(SERVE)
    assert {"serves", "fastapi"} <= loaded
    assert not loaded & OTHERS


def test_a_run_imports_only_its_own_loggers_and_no_search(tmp_path: Path) -> None:
    assert not loaded_by(TRAIN, tmp_path) & {"wandb", "tensorboard", "optuna", "sqlalchemy", "plotly", "onnx"}
