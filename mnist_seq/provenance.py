"""Provenance of a result: package versions and git revision."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("mnist_seq", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")


def package_versions(*extra: str) -> dict[str, str]:
    """Versions of Python and of the installed packages that affect results."""
    versions = {"python": platform.python_version()}
    for name in (*PACKAGES, *extra):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_revision() -> str | None:
    """The git revision of this checkout, with `+` after it if files were modified; None outside a checkout."""
    package_dir = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package_dir), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=10
        ).stdout.strip()

    try:
        if not git("ls-files", "provenance.py"):
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
