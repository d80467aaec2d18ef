"""A library call leaves no global state behind in its process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_seq import train
from tests.conftest import TINY

SNAPSHOT = """
import ctypes, logging, os, random, signal, sys, threading, warnings

import lightning.pytorch, matplotlib, numpy, torch, torch.nn.attention
import sklearn.datasets, tensorboard  # what others import may change the process; that is theirs
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import OmegaConf

class Libc:
    def __getattr__(self, name):
        asked.append(name)
        return lambda *arguments: 1

asked = []
ctypes.CDLL = lambda *arguments, **options: Libc()
OmegaConf.register_new_resolver("run_directory", lambda resume: "of another program")
OmegaConf.register_new_resolver("job_name", lambda overrides: "of another program")
theirs = logging.StreamHandler()
logging.getLogger("mnist_seq").addHandler(theirs)
GlobalHydra.instance().hydra = outer = object()

def state():
    loggers = [logging.getLogger(name) for name in (None, "mnist_seq", "lightning.pytorch", "py.warnings")]
    return {
        "malloc": [it for it in asked if it == "mallopt"],
        "log": [(each.level, [(id(it), it.level) for it in each.handlers], each.propagate) for each in loggers],
        "warnings": [str(each) for each in warnings.filters],
        "environment": dict(os.environ),
        "argv": list(sys.argv),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "signals": [str(signal.getsignal(it)) for it in sorted(signal.valid_signals())],
        "hooks": [str(it) for it in (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr)],
        "hydra": [GlobalHydra.instance().hydra is outer, str(VersionBase.instance().getbase())],
        "resolvers": [OmegaConf.create({"it": "${%s:x}" % name}).it for name in ("run_directory", "job_name")],
        "torch": [
            torch.get_num_threads(), torch.get_float32_matmul_precision(), str(torch.get_default_dtype()),
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic, torch.is_grad_enabled(), torch.backends.cuda.flash_sdp_enabled(),
        ],
        "random": [torch.get_rng_state().sum().item(), str(random.getstate()), str(numpy.random.get_state())],
        "matplotlib": [matplotlib.get_backend(), str(dict(matplotlib.rcParams))],
        "recursion": sys.getrecursionlimit(),
        "threads": [it.name for it in threading.enumerate() if not it.daemon],
    }
"""
LIBRARY_CALLS = {
    "a fit": f"mnist_seq.fit(*{TINY!r}, 'model=tiny', 'callbacks=ema', 'hydra.run.dir=run')",
    "a fit that is refused": f"""
try:
    mnist_seq.fit(*{TINY!r}, 'model=tiny', '+trainer.profiler=gone', 'hydra.run.dir=run')
except ValueError as refused:
    print(refused)
else:
    raise SystemExit('it was not refused')
""",
    "a reading": "assert mnist_seq.load('single').read(torch.eye(40)[None]).confidence",
    "scenes": "assert len(mnist_seq.scenes('grid', 'data.digits=uci', split='val').render([1, 2]).digits) == 2",
    "a config": "mnist_seq.compose('model=tiny')",
}


@pytest.mark.parametrize("call", LIBRARY_CALLS)
def test_a_library_call_leaves_no_global_state_behind(call: str, tmp_path: Path) -> None:
    script = f"{SNAPSHOT}\nimport json\nimport mnist_seq\nbefore = state()\n{LIBRARY_CALLS[call]}\nafter = state()\n"
    script += "json.dump({key: [before[key], after[key]] for key in before}, open('states.json', 'w'), default=str)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for key, (before, after) in json.loads((tmp_path / "states.json").read_text()).items():
        assert after == before, key


def test_a_command_called_from_python_restores_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given, path, logger = ["train", "model.num_heads=3"], sys.path, logging.getLogger("mnist_seq")
    monkeypatch.setattr(sys, "argv", given)
    before = list(given), list(path), list(logger.handlers), logger.level
    with pytest.raises(SystemExit):
        train.main()
    assert "model.num_heads=3 does not divide" in capsys.readouterr().err
    assert sys.argv is given
    assert sys.path is path
    assert (given, path, logger.handlers, logger.level) == before
