"""From files to readings: decoded and fitted in threads, read in batches, with room for so many pictures at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from PIL import Image
from torch import Tensor

from mnist_seq.inference.reader import Reader, Reading
from mnist_seq.serving.batcher import Batcher
from mnist_seq.serving.metrics import ServiceMetrics

_NUM_DECODE_THREADS = 2
"""Threads that decode pictures and fit them to the canvas."""
DecodeFn = Callable[[bytes, int], Image.Image]
"""A file, and which of a request's it is, to a picture."""


class QueueFull(Exception):
    """There is no room for so many more pictures."""


class InferencePipeline:
    """Takes pictures in and gives readings out, while it is entered."""

    def __init__(
        self,
        reader: Reader,
        decode: DecodeFn,
        metrics: ServiceMetrics,
        *,
        max_batch_size: int,
        max_in_flight: int,
        num_threads: int | None,
    ) -> None:
        """
        Args:
            decode: raises what is told to who sent the file.
            batch: most pictures read at once.
            room: most pictures in hand: decoded, waiting or being read.
            threads: that torch uses to read; null leaves it to torch.
        """
        self._reader, self._decode, self._max_in_flight, self._metrics = reader, decode, max_in_flight, metrics
        self._batcher = Batcher(reader.read_canvases, max_batch_size, num_threads)
        self._decode_pool = ThreadPoolExecutor(_NUM_DECODE_THREADS, "decodes", torch.set_num_threads, (1,))
        self.num_in_flight = 0

    async def __aenter__(self) -> InferencePipeline:
        await self._batcher.__aenter__()
        spec = self._reader.model.spec
        await self._batcher.read(torch.eye(spec.height, spec.width)[None])  # the first is slow, and shows that it can
        self._batcher.on_batch = self._metrics.observe_batch
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decode_pool.shutdown(cancel_futures=True)
        await self._batcher.__aexit__(kind, problem, trace)

    @property
    def ready(self) -> bool:
        """Whether pictures are read."""
        return self._batcher.alive

    async def read(self, files: list[bytes]) -> list[Reading]:
        """Readings of files. Who gives up, by cancelling, leaves no work behind but what is being done.

        Raises:
            Full: there is no room for all of them; none is taken.
            Exception: what `decode` raises.
        """
        if self.num_in_flight + len(files) > self._max_in_flight:
            raise QueueFull
        self.num_in_flight += len(files)
        loop = asyncio.get_running_loop()
        jobs: list[asyncio.Future[Tensor]] = [
            loop.run_in_executor(self._decode_pool, self._decode_and_preprocess, data, place)
            for place, data in enumerate(files)
        ]
        canvases = asyncio.gather(*jobs)
        try:
            return await self._batcher.read(torch.stack(await canvases))
        finally:
            self.num_in_flight -= len(files)
            for job in jobs:
                job.cancel()

    def _decode_and_preprocess(self, data: bytes, index: int) -> Tensor:
        return self._reader.preprocess(self._decode(data, index))
