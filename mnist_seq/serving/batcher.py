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

from mnist_seq.inference.reader import Reading

_Item = tuple[Tensor, "asyncio.Future[Reading]"]
"""A canvas, H W, and where its reading is awaited."""


class Batcher:
    """Reads in one thread, up to so many pictures at once."""

    def __init__(
        self, read_fn: Callable[[Tensor], list[Reading]], max_batch_size: int, num_threads: int | None = None
    ) -> None:
        """
        Args:
            read: canvases, B H W, to readings; called in a thread of its own.
            batch: most pictures at once.
            threads: that torch uses within `read`; it heeds only what it is told in the thread that computes.
        """
        self._read_fn, self._max_batch_size = read_fn, max_batch_size
        prepare = (torch.set_num_threads, (num_threads,)) if num_threads else (None, ())
        self._executor = ThreadPoolExecutor(1, "reads", *prepare)
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.on_batch: Callable[[int], object] = lambda size: None
        """The size of each batch."""

    async def __aenter__(self) -> Batcher:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._executor.shutdown()

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    async def read(self, canvases: Tensor) -> list[Reading]:
        """Readings of canvases, B H W; of who gives up, by cancelling, none is read that was not begun."""
        loop = asyncio.get_running_loop()
        items: list[_Item] = [(canvas, loop.create_future()) for canvas in canvases]
        for item in items:
            self._queue.put_nowait(item)
        return list(await asyncio.gather(*(future for _, future in items)))

    async def _run(self) -> None:
        while True:
            items = [await self._queue.get()]
            while len(items) < self._max_batch_size and not self._queue.empty():
                items.append(self._queue.get_nowait())
            items = [item for item in items if not item[1].done()]  # whoever gave up has cancelled
            if items:
                self.on_batch(len(items))
                await self._read_batch(items)

    async def _read_batch(self, items: list[_Item]) -> None:
        """Read pictures together, or, where that fails, each by itself: no one's fails for another's."""
        loop = asyncio.get_running_loop()
        try:
            canvases = torch.stack([canvas for canvas, _ in items])
            readings = await loop.run_in_executor(self._executor, self._read_fn, canvases)
            pairs = list(zip(items, readings, strict=True))
        except Exception as problem:
            if len(items) > 1:
                for item in items:
                    await self._read_batch([item])
            elif not items[0][1].done():
                items[0][1].set_exception(problem)
            return
        for (_, future), reading in pairs:
            if not future.done():
                future.set_result(reading)
