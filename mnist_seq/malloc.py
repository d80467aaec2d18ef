"""How this process allocates memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""


def tune_malloc() -> None:
    """Make glibc keep freed memory: otherwise each step returns megabytes to the system and gets them back by the page.

    This cannot be undone, so only commands call it, which own their process. glibc before 2.35 takes no mmap threshold
    above 32 MiB; a trim threshold alone would make it slower.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        if any(libc.mallopt(_MMAP_THRESHOLD, size) for size in (1 << 30, 1 << 25)):
            libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
