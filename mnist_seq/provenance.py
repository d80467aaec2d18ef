"""What a result depends on beside its config: the versions of packages, and the revision of this one."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("mnist_seq", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")


def package_versions(*extra: str) -> dict[str, str]:
    """Of Python and the packages that a result depends on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *extra):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The git revision of this package's checkout, marked `+` where files differ from it; None outside of git."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=10
        ).stdout.strip()

    try:
        if not git("ls-files", "provenance.py"):
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
