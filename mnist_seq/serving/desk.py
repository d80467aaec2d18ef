"""From files to readings: decoded and fitted in threads, read in batches, with room for so many pictures at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from PIL import Image
from torch import Tensor

from mnist_seq.serving.batcher import Batcher
from mnist_seq.serving.telling import Counts
from mnist_seq.use.reader import Reader, Reading

_DECODERS = 2
"""Threads that decode pictures and fit them to the canvas."""
Decode = Callable[[bytes, int], Image.Image]
"""A file, and which of a request's it is, to a picture."""


class Full(Exception):
    """There is no room for so many more pictures."""


class Desk:
    """Takes pictures in and gives readings out, while it is entered."""

    def __init__(
        self, reader: Reader, decode: Decode, counts: Counts, *, batch: int, room: int, threads: int | None
    ) -> None:
        """
        Args:
            decode: raises what is told to who sent the file.
            batch: most pictures read at once.
            room: most pictures in hand: decoded, waiting or being read.
            threads: that torch uses to read; null leaves it to torch.
        """
        self._reader, self._decode, self._room, self._counts = reader, decode, room, counts
        self._batcher = Batcher(reader.read_canvases, batch, threads)
        self._decoders = ThreadPoolExecutor(_DECODERS, "decodes", torch.set_num_threads, (1,))
        self.in_hand = 0

    async def __aenter__(self) -> Desk:
        await self._batcher.__aenter__()
        spec = self._reader.model.spec
        await self._batcher.read(torch.eye(spec.height, spec.width)[None])  # the first is slow, and shows that it can
        self._batcher.told = self._counts.batch
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoders.shutdown(cancel_futures=True)
        await self._batcher.__aexit__(kind, problem, trace)

    @property
    def open(self) -> bool:
        """Whether pictures are read."""
        return self._batcher.alive

    async def read(self, files: list[bytes]) -> list[Reading]:
        """Readings of files. Who gives up, by cancelling, leaves no work behind but what is being done.

        Raises:
            Full: there is no room for all of them; none is taken.
            Exception: what `decode` raises.
        """
        if self.in_hand + len(files) > self._room:
            raise Full
        self.in_hand += len(files)
        loop = asyncio.get_running_loop()
        jobs: list[asyncio.Future[Tensor]] = [
            loop.run_in_executor(self._decoders, self._canvas, data, place) for place, data in enumerate(files)
        ]
        canvases = asyncio.gather(*jobs)
        try:
            return await self._batcher.read(torch.stack(await canvases))
        finally:
            self.in_hand -= len(files)
            for job in jobs:
                job.cancel()

    def _canvas(self, data: bytes, place: int) -> Tensor:
        return self._reader.canvas(self._decode(data, place))
