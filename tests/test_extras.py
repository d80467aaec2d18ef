"""What is imported is declared, and a command that needs an extra says which."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from mnist_seq import extras
from mnist_seq.errors import UserError
from tests.test_architecture import COMMANDS, FILES, PACKAGE

ROOT = PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
NEEDED_BY_OTHERS = {
    "tensorboard": "lightning.pytorch.loggers",
    "onnxscript": "torch.onnx",
}
"""Distributions that the package imports through another alone."""
DISTRIBUTIONS = packages_distributions()


def names(requirements: list[str]) -> set[str]:
    """Of the distributions, as package indexes normalize them."""
    return {normalized(re.match(r"[\w.-]+", it)[0]) for it in requirements}  # type: ignore[index]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(path: Path) -> set[str]:
    """Top-level packages of others that a file imports anywhere, for types alone too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"mnist_seq", "tests"}


def distributions(package: str) -> set[str]:
    """That install a package; its own name where it is not installed."""
    return {normalized(it) for it in DISTRIBUTIONS.get(package, [package])}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_import_of_the_package_is_declared(path: Path) -> None:
    declared = names(PROJECT["project"]["dependencies"]) | names(GROUPS["baselines"]) | names(GROUPS["browser"])
    declared |= set().union(*(names(it) for it in EXTRAS.values()))
    assert {package for package in imported(path) if not distributions(package) & declared} == set()


def test_every_import_of_the_tests_is_declared() -> None:
    declared = names(PROJECT["project"]["dependencies"])
    declared = declared.union(*map(names, [*EXTRAS.values(), *GROUPS.values()]))
    for path in sorted((ROOT / "tests").rglob("*.py")):
        missing = {package for package in imported(path) if not distributions(package) & declared}
        assert not missing, path


def test_every_declared_dependency_is_imported() -> None:
    used = {name for path in FILES for package in imported(path) for name in distributions(package)}
    declared = names(PROJECT["project"]["dependencies"]).union(*(names(it) for it in EXTRAS.values()))
    assert declared - used == NEEDED_BY_OTHERS.keys()


def test_extras_match_pyproject() -> None:
    assert extras.EXTRAS.keys() == EXTRAS.keys()
    for extra, packages in extras.EXTRAS.items():
        assert {name for package in packages for name in distributions(package)} == names(EXTRAS[extra])


NEEDS = {
    "serve": (["serve"], "serve needs fastapi: pip install 'mnist_seq[serve]'"),
    "bench": (["bench", "suite=serving"], "suite=serving needs fastapi: pip install 'mnist_seq[serve]'"),
    "export": (["export", "format=onnx"], "format=onnx needs onnx: pip install 'mnist_seq[onnx]'"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_command_without_its_extra_names_it_before_any_work(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec: Any = importlib.util.find_spec
    absent = {package for packages in extras.EXTRAS.values() for package in packages}
    monkeypatch.setattr("importlib.util.find_spec", lambda it, *where: None if it in absent else find_spec(it, *where))
    arguments, line = NEEDS[name]
    assert name in COMMANDS
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"mnist_seq.{name}").main()
    assert left.value.code == 1
    assert capsys.readouterr().err == f"mnist_seq: {line}\n"


def test_the_api_without_an_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_seq.inference import onnx_export

    monkeypatch.setattr(extras, "missing_package", lambda extra: "onnx")
    with pytest.raises(UserError, match=r"pip install 'mnist_seq\[onnx\]'"):
        onnx_export.create_session(Path("reader.onnx"))
