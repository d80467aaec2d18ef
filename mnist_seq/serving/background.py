"""Work that takes half a minute, in a process of its own: the service goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mnist_seq.errors import UserError


class ProcessDied(RuntimeError):
    """A process ended without a result."""


async def run_in_process(function: Callable[..., bytes], *args: Any) -> bytes:
    """Call a function in a new process, of low priority; a caller who is cancelled ends it.

    Args:
        function, args: must be picklable.

    Raises:
        UserError: the function raised one.
        ProcessDied: it raised another exception, whose traceback is on stderr, or the process was killed.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_call, args=(theirs,), daemon=True)
    with _without_ctrl_c():
        process.start()
    theirs.close()
    try:
        result = await asyncio.to_thread(_exchange, ours, (function, args))
    except (EOFError, OSError):
        raise ProcessDied(f"the process of {function.__name__} ended without a result") from None
    finally:
        process.terminate()
        process.join(5)
    if isinstance(result, UserError):
        raise result
    return result


def _exchange(connection: Connection, call: Any) -> Any:
    """Send a call and wait for its result: not among the arguments of the process, whose start would wait for it."""
    connection.send(call)
    return connection.recv()


@contextlib.contextmanager
def _without_ctrl_c() -> Any:
    """Processes that are started within the context never see Ctrl-C: who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call(connection: Connection) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Windows has no priorities of this kind
        os.nice(5)
    with contextlib.suppress(OSError):  # where memory runs out, this process is killed and not the service
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    function, args = connection.recv()
    try:
        connection.send(function(*args))
    except UserError as error:
        connection.send(error)
