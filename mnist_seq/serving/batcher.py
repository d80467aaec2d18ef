"""Pictures of many requests, read together.

Nothing is waited for: while one batch is read, whatever arrives is the next. A request that comes alone is read alone.

Shapes   B pictures   H W canvas
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from mnist_seq.use.reader import Reading

Item = tuple[Tensor, "asyncio.Future[Reading]"]
"""A canvas, H W, and where its reading is awaited."""


class QueueFull(Exception):
    """More pictures wait than may."""


class Batcher:
    """Reads in one thread, up to so many pictures at once."""

    def __init__(
        self, read: Callable[[Tensor], list[Reading]], batch: int, queue: int, threads: int | None = None
    ) -> None:
        """
        Args:
            read: canvases, B H W, to readings; called in a thread of its own.
            batch: most pictures at once.
            queue: most pictures that wait.
            threads: that torch uses within `read`; it heeds only what it is told in the thread that computes.
        """
        self._read, self._batch, self._most = read, batch, queue
        prepare = (torch.set_num_threads, (threads,)) if threads else (None, ())
        self._thread = ThreadPoolExecutor(1, "reads", *prepare)
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.batches: Callable[[int], object] = lambda size: None
        """Told the size of each batch."""

    async def __aenter__(self) -> Batcher:
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._thread.shutdown()

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def waiting(self) -> int:
        """Pictures that are not being read yet."""
        return self._queue.qsize()

    async def read(self, canvases: Tensor) -> list[Reading]:
        """Readings of canvases, B H W.

        Raises:
            QueueFull: the queue has no room for all of them; none is taken.
        """
        if self.waiting + len(canvases) > self._most:
            raise QueueFull
        loop = asyncio.get_running_loop()
        items: list[Item] = [(canvas, loop.create_future()) for canvas in canvases]
        for item in items:
            self._queue.put_nowait(item)
        return list(await asyncio.gather(*(future for _, future in items)))

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            items = [await self._queue.get()]
            while len(items) < self._batch and self.waiting:
                items.append(self._queue.get_nowait())
            items = [item for item in items if not item[1].done()]  # whoever gave up has cancelled
            if not items:
                continue
            self.batches(len(items))
            try:
                canvases = torch.stack([canvas for canvas, _ in items])
                readings = await loop.run_in_executor(self._thread, self._read, canvases)
            except Exception as problem:  # of these pictures; the next must still be read
                for _, future in items:
                    if not future.done():
                        future.set_exception(problem)
                continue
            for (_, future), reading in zip(items, readings, strict=True):
                if not future.done():
                    future.set_result(reading)
