"""configs/README.md and `--help`: every key with its default and its docstring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mnist_seq.cli import _help
from mnist_seq.config import reference
from mnist_seq.config.commands import COMMANDS
from mnist_seq.config.config_store import CONFIG_DIR
from tests.config.schema_keys import keys, keys_of

HYDRA_COMMANDS = [name for name, command in COMMANDS.items() if command.schema]


def test_the_readme_of_the_presets_is_written_from_the_docstrings() -> None:
    assert (CONFIG_DIR / "README.md").read_text(encoding="utf-8") == reference.markdown(), "run make docs"


@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_every_key_has_a_docstring(command: str) -> None:
    missing = [key.name for key in keys_of(command) if not key.doc]
    assert not missing


@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_help_lists_every_key_with_its_value_and_docstring(command: str) -> None:
    schema = COMMANDS[command].schema
    assert schema
    lines = _help(command, ["--help"]).splitlines()
    for key in keys(schema):
        assert any(line.startswith((f"{key.name}=", f"{key.name}.")) for line in lines), key.name
        if any(line.startswith(f"{key.name}=") for line in lines):
            index = next(index for index, line in enumerate(lines) if line.startswith(f"{key.name}="))
            assert lines[index + 1].strip()
            assert key.doc.startswith(lines[index + 1].strip())


def test_help_shows_composed_values_and_presets_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [schema/classifier, _self_]\ndim: 48\n")
    text = _help("train", ["--config-dir", str(tmp_path), "model=mine", "data.rows=3", "--help"])
    assert "\nmodel.dim=48\n    Width of the token embeddings.\n" in text
    assert "\ndata.rows=3\n    Rows of cells.\n" in text
    assert "paper, tiny, vit_grid" in text
    assert "enc_dec, mine, paper" in text


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = f"import sys, runpy\nsys.argv = ['{command}', '--help']\ntry:\n    runpy.run_module('mnist_seq.{command}', "
    code += "run_name='__main__')\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert not {"torch", "numpy", "lightning", "matplotlib"} & {*done.stderr.split()}
