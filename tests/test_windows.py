"""A run needs nothing that Windows lacks; Linux simulates what it lacks and refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import environment

WINDOWS = """
import errno, fcntl, os, signal
from lightning.pytorch.trainer.connectors import signal_connector
import torch, torch.distributed, torchvision  # these have ways of their own there

signal_connector._IS_WINDOWS = True

signal.valid_signals = lambda: {getattr(signal, name) for name in WINDOWS_HAS if not name.startswith("SIG_")}
for name in [name for name in vars(signal) if name.startswith("SIG") and name not in WINDOWS_HAS]:
    delattr(signal, name)
for name in ("fork", "sched_getaffinity", "sched_setaffinity", "killpg", "getuid", "uname", "O_NOFOLLOW"):
    delattr(os, name)

def fsync(descriptor, flush=os.fsync):
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    flush(descriptor)

def replaceable(move):
    def moved(source, target, **directories):
        held = [os.path.realpath(f"/proc/self/fd/{it}") for it in os.listdir("/proc/self/fd")]
        if {os.path.realpath(source), os.path.realpath(target)} & set(held):
            raise PermissionError(errno.EACCES, "Access is denied: a file that is open")
        move(source, target, **directories)
    return moved

os.fsync, os.replace, os.rename = fsync, replaceable(os.replace), replaceable(os.rename)
"""
HAS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN")


def test_a_run_uses_nothing_that_windows_lacks(tmp_path: Path) -> None:
    script = f"WINDOWS_HAS = {HAS!r}\n{WINDOWS}\nimport mnist_seq\n"
    script += f"run = mnist_seq.fit(*{TINY!r}, 'model=tiny', 'data=single', 'callbacks=ema', 'hydra.run.dir=run')\n"
    script += "run = mnist_seq.fit('resume=run', 'trainer.max_steps=14')\n"
    script += "mnist_seq.load(run.path).read(torch.eye(28))\n"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").metrics["steps"] == 14


def test_run_directories_have_names_that_windows_accepts() -> None:
    from mnist_seq.compose_config import default_run_dir, job_name

    for name in (default_run_dir(None), job_name(["data.path=C:/digits", "model.dim=64"])):
        assert not set(name) & set('<>:"|?*\\')
