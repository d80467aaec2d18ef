"""The inference pipeline: decode files in threads, and read them in batches; the number in flight is limited.

Images are preprocessed and read in a single thread: several would wait for each other's Python code, and a batch is
several times faster than its images one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from PIL import Image

from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.serving.batcher import Batcher
from mnist_seq.serving.image_decode import DecodedImage
from mnist_seq.serving.metrics import ServiceMetrics

_NUM_DECODE_THREADS = 2
"""Threads that decode images."""
DecodeFn = Callable[[bytes, int], DecodedImage]
"""From a file and its index in the request to an image."""


class QueueFull(Exception):
    """The images of a request would exceed the limit of images in flight."""


class InferencePipeline:
    """From image files to readings. An async context manager."""

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
            decode: decodes a file; its exceptions are raised by `read`.
            max_batch_size: most images in a batch.
            max_in_flight: most images being decoded, queued or read.
            num_threads: torch's CPU threads to read with; None keeps torch's default.
        """
        self.reader, self._decode, self._max_in_flight, self._metrics = reader, decode, max_in_flight, metrics
        """`reader` may be replaced by another one of the same model at any time."""
        self._batcher: Batcher[DecodedImage, Reading] = Batcher(self._read_batch, max_batch_size, num_threads)
        self._decode_pool = ThreadPoolExecutor(_NUM_DECODE_THREADS, "decode", torch.set_num_threads, (1,))
        self.num_in_flight = 0

    async def __aenter__(self) -> InferencePipeline:
        await self._batcher.__aenter__()
        spec = self.reader.model.spec
        example = Image.fromarray(np.eye(spec.height, spec.width, dtype=bool))
        await self._batcher.process([DecodedImage(example)])  # fail early
        self._batcher.on_batch = self._metrics.observe_batch
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._decode_pool.shutdown(cancel_futures=True)
        await self._batcher.__aexit__(exc_type, exc, traceback)

    @property
    def ready(self) -> bool:
        """Whether images are being read."""
        return self._batcher.alive

    async def read(self, files: list[bytes]) -> list[Reading]:
        """Read image files. If the caller is cancelled, work that has not started is dropped.

        Raises:
            QueueFull: not all of the files fit; none is read.
            Exception: whatever `decode` raises.
        """
        if self.num_in_flight + len(files) > self._max_in_flight:
            raise QueueFull
        self.num_in_flight += len(files)
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._decode_pool, self._decode, data, index) for index, data in enumerate(files)]
        decoded = asyncio.gather(*jobs)
        try:
            readings = await self._batcher.process(await decoded)
            self._metrics.observe_images(len(files))
            return readings
        finally:
            self.num_in_flight -= len(files)
            for job in jobs:
                job.cancel()

    def _read_batch(self, decoded: list[DecodedImage]) -> list[Reading]:
        """Read images; boxes are in pixels of the files, whatever scale those were decoded at."""
        readings = self.reader.read([it.image for it in decoded])
        return [reading.scaled(it.scale) for reading, it in zip(readings, decoded, strict=True)]
