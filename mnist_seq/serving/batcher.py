"""Dynamic batching: items of many requests are processed together.

No request waits for others: while one batch is processed, the items that arrive form the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Process queued items in batches, in a single thread. An async context manager."""

    def __init__(
        self,
        process_fn: Callable[[list[Item]], list[Result]],
        max_batch_size: int,
        num_threads: int | None = None,
    ) -> None:
        """
        Args:
            process_fn: from items to a result for each; called in the thread.
            max_batch_size: most items in a batch.
            num_threads: torch's CPU threads in `process_fn`; None keeps torch's default.
        """
        self._process_fn, self._max_batch_size = process_fn, max_batch_size
        initializer = (torch.set_num_threads, (num_threads,)) if num_threads else (None, ())
        self._executor = ThreadPoolExecutor(1, "batcher", *initializer)
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.on_batch: Callable[[int], object] = lambda size: None
        """Called with the size of each batch."""

    async def __aenter__(self) -> Batcher[Item, Result]:
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

    async def process(self, items: Iterable[Item]) -> list[Result]:
        """Process items. If the caller is cancelled, those still in the queue are dropped."""
        loop = asyncio.get_running_loop()
        queued: list[tuple[Item, asyncio.Future[Result]]] = [(item, loop.create_future()) for item in items]
        for item in queued:
            self._queue.put_nowait(item)
        return list(await asyncio.gather(*(future for _, future in queued)))

    async def _run(self) -> None:
        while True:
            items = [await self._queue.get()]
            while len(items) < self._max_batch_size and not self._queue.empty():
                items.append(self._queue.get_nowait())
            items = [(item, future) for item, future in items if not future.done()]  # done: cancelled by its caller
            if items:
                self.on_batch(len(items))
                await self._process_batch(items)

    async def _process_batch(self, items: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Process a batch; if it fails, process its items one by one, so that an item fails alone."""
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._executor, self._process_fn, [item for item, _ in items])
            pairs = list(zip(items, results, strict=True))
        except Exception as error:
            if len(items) > 1:
                for item in items:
                    await self._process_batch([item])
            elif not items[0][1].done():
                items[0][1].set_exception(error)
            return
        for (_, future), result in pairs:
            if not future.done():
                future.set_result(result)
