"""Work that takes half a minute, in a process of its own: the service goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from mnist_seq.errors import UserError


async def run_in_process(function: Callable[..., bytes], *args: Any) -> bytes:
    """Call a function in a new process, of low priority; a caller who is cancelled ends it.

    Args:
        function, args: must be picklable.

    Raises:
        UserError: the function raised one.
        RuntimeError: it raised another exception, whose traceback is on stderr, or the process was killed.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, function, args), daemon=True)
    process.start()
    sender.close()
    try:
        result = await asyncio.to_thread(receiver.recv)
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed in its process") from None
    finally:
        process.terminate()
    if isinstance(result, UserError):
        raise result
    return result


def _call(sender: Connection, function: Callable[..., bytes], args: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not on Windows
        os.nice(10)
    try:
        sender.send(function(*args))
    except UserError as error:
        sender.send(error)
