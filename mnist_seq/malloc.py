"""glibc's allocator, set to keep the memory that a training step frees and needs again."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""


def tune_malloc() -> None:
    """Keep freed memory in this process; otherwise each step returns megabytes and gets them back page by page.

    This cannot be undone, so only commands call it, in a process of their own.
    glibc before 2.35 accepts no threshold above 32 MiB, and a trim threshold alone would be slower than none.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        if any(libc.mallopt(_MMAP_THRESHOLD, size) for size in (1 << 30, 1 << 25)):
            libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
