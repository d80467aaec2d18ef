"""Code that a saved run names runs only where the user trusts it, whatever command opens it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import mnist_seq
from mnist_seq.config import EvaluateConfig, trust
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from tests.conftest import TINY

MINE = """
from pathlib import Path
from lightning.pytorch.callbacks import Callback


class Mine(Callback):
    def __init__(self, mark):
        Path(mark).touch()
"""
STRANGE = (
    {"a": {"_target_": "os.system", "command": "touch pwned"}},
    {"a": {"_target_": "functools.partial", "_args_": [{"_target_": "os.getcwd"}]}},
    {"a": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": {"_target_": "os.getcwd"}}},
    {"a": {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging", "b": [{"_target_": "os.getcwd"}]}},
    {"a": {"_target_": "lightning.pytorch.callbacks.LambdaCallback"}},
    {"a": {"_target_": "hydra.utils.get_object", "path": "os.getcwd"}},
    {"a": {"_target_": "mnist_seq.atomic_io.atomic_write_text", "path": "x", "text": "y"}},
    {"a": {"_target_": "mnist_seq.training.callbacks.GradientHistograms.__init__.__globals__"}},
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_callbacks", raising=False)
    (tmp_path / "my_callbacks.py").write_text(MINE)
    return "my_callbacks"


def saved(run: Run, **changes: Any) -> Run:
    """A run whose saved config was changed by somebody."""
    path = run.path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return run


@pytest.fixture
def trained(tmp_path: Path, tiny_run: Run) -> Run:
    return Run(shutil.copytree(tiny_run.path, tmp_path / "run", ignore=shutil.ignore_patterns(".lock*")))


def test_a_custom_callback_runs_when_typed_and_on_resume_only_when_trusted(tmp_path: Path, module: str) -> None:
    mark, asked = tmp_path / "mark", f"+callbacks.mine._target_={module}.Mine"
    begin = ("data=grid", *TINY, "trainer.max_steps=2", asked, f"+callbacks.mine.mark={mark}")
    run = mnist_seq.fit(*begin, f"hydra.run.dir={tmp_path}/run")
    assert mark.exists()
    mark.unlink()
    for no in ("trust=null", "trust=false", "trust=other"):
        with pytest.raises(UserError, match=f"run names {module}.Mine, .* if you trust it, add trust=true"):
            mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=3", no)
    assert not mark.exists()
    for steps, yes in ((3, "trust=true"), (4, f"trust={module}")):
        assert mnist_seq.fit(f"resume={run.path}", f"trainer.max_steps={steps}", yes).metrics["steps"] == steps
        assert mark.exists()
        mark.unlink()
    assert run.config.trust is None, "trust is of a command, not of a run"


@pytest.mark.parametrize("group", trust.TARGET_GROUPS)
@pytest.mark.parametrize("named", STRANGE, ids=lambda named: named["a"]["_target_"])
def test_a_saved_run_cannot_name_untrusted_code(
    group: str, named: dict[str, Any], trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(trained, **{group: named})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="opening it runs that code"):
        mnist_seq.fit(f"resume={trained.path}", "trainer.max_steps=13")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_saved_model_cannot_name_untrusted_code(trained: Run, module: str) -> None:
    saved(trained, model={"name": "custom", "_target_": f"{module}.Reader"})
    with pytest.raises(UserError, match=f"names {module}.Reader, and opening it runs that code"):
        mnist_seq.fit(f"resume={trained.path}", "trainer.max_steps=13")
    assert module not in sys.modules


def test_a_typed_logger_replaces_the_saved_one(trained: Run) -> None:
    saved(trained, logger={"a": {"_target_": "os.getcwd"}})
    resumed = mnist_seq.fit(f"resume={trained.path}", "trainer.max_steps=13", "logger=null")
    assert resumed.metrics["steps"] == 13


def test_every_target_of_our_presets_is_trusted_and_no_other() -> None:
    presets = [
        yaml.safe_load(path.read_text()) for group in trust.TARGET_GROUPS for path in CONFIG_DIR.glob(f"{group}/*")
    ]
    former = {"lightning.pytorch.callbacks.EarlyStopping", "lightning.pytorch.callbacks.EMAWeightAveraging"}
    assert former.union(*map(trust.find_targets, presets)) == trust.BUILT_IN_TARGETS


def test_trust_of_a_module_covers_that_module_only() -> None:
    assert trust.is_trusted("mine.Reader", "mine")
    assert trust.is_trusted("mine.models.Reader", "mine")
    assert not trust.is_trusted("mine2.Reader", "mine")
    assert not trust.is_trusted("mine.Reader", None)
    with pytest.raises(UserError, match="trust=a b must be true, false or the name of a module"):
        EvaluateConfig(trust="a b")
