"""Dynamic batching: images of many requests are read together.

No request waits for others: while one batch is read, the images that arrive form the next one.

Shapes   B images   H W canvas
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from mnist_seq.inference.reading import Reading

_Item = tuple[Tensor, "asyncio.Future[Reading]"]
"""A canvas, H W, and the future of its reading."""


class Batcher:
    """Read queued images in batches, in a single thread. An async context manager."""

    def __init__(
        self, read_fn: Callable[[Tensor], list[Reading]], max_batch_size: int, num_threads: int | None = None
    ) -> None:
        """
        Args:
            read_fn: from canvases, B H W, to readings; called in the thread.
            max_batch_size: most images in a batch.
            num_threads: torch's CPU threads in `read_fn`, set in the thread that computes; None keeps torch's default.
        """
        self._read_fn, self._max_batch_size = read_fn, max_batch_size
        initializer = (torch.set_num_threads, (num_threads,)) if num_threads else (None, ())
        self._executor = ThreadPoolExecutor(1, "batcher", *initializer)
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.on_batch: Callable[[int], object] = lambda size: None
        """Called with the size of each batch."""

    async def __aenter__(self) -> Batcher:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._executor.shutdown()

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    async def read(self, canvases: Tensor) -> list[Reading]:
        """Read canvases, B H W. If the caller is cancelled, those still in the queue are never read."""
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
            items = [(canvas, future) for canvas, future in items if not future.done()]  # done: cancelled by its caller
            if items:
                self.on_batch(len(items))
                await self._read_batch(items)

    async def _read_batch(self, items: list[_Item]) -> None:
        """Read a batch; if it fails, read its images one by one, so that an image fails alone."""
        loop = asyncio.get_running_loop()
        try:
            canvases = torch.stack([canvas for canvas, _ in items])
            readings = await loop.run_in_executor(self._executor, self._read_fn, canvases)
            results = list(zip(items, readings, strict=True))
        except Exception as error:
            if len(items) > 1:
                for item in items:
                    await self._read_batch([item])
            elif not items[0][1].done():
                items[0][1].set_exception(error)
            return
        for (_, future), reading in results:
            if not future.done():
                future.set_result(reading)
