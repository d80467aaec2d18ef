"""Images of many requests are read in batches, and each request gets its own readings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.serving.batcher import Batcher


def numbered(canvases: list[Tensor]) -> list[Reading]:
    return [Reading([int(canvas[0, 0])], 1.0, [1.0]) for canvas in canvases]


def number(value: int) -> Tensor:
    return torch.full((1, 2, 2), value)


class GatedRead:
    """A read function that blocks until `open` is set, and records batch sizes."""

    def __init__(self, read: Callable[[list[Tensor]], list[Reading]] = numbered) -> None:
        self.open, self.sizes, self._read = threading.Event(), [], read  # type: ignore[var-annotated]

    def __call__(self, canvases: list[Tensor]) -> list[Reading]:
        assert self.open.wait(10)
        self.sizes.append(len(canvases))
        return self._read(canvases)


def test_requests_get_their_own_readings_from_shared_batches() -> None:
    async def ask() -> list[list[Reading]]:
        async with Batcher(gate, max_batch_size=4) as batcher:
            tasks = [asyncio.create_task(batcher.process(torch.cat([number(it), number(-it)]))) for it in range(9)]
            await asyncio.sleep(0.05)
            gate.open.set()
            return await asyncio.gather(*tasks)

    gate = GatedRead()
    results = asyncio.run(ask())
    assert [[reading.digits for reading in readings] for readings in results] == [[[it], [-it]] for it in range(9)]
    assert sum(gate.sizes) == 18
    assert max(gate.sizes) == 4
    assert gate.sizes.count(4) >= 4


def test_single_request_never_waits_for_others() -> None:
    async def ask() -> None:
        async with Batcher(gate, max_batch_size=64) as batcher:
            for it in range(3):
                await batcher.process(number(it))

    gate = GatedRead()
    gate.open.set()
    asyncio.run(ask())
    assert gate.sizes == [1, 1, 1]


def test_batch_reads_what_single_images_read(reader: Reader, grids: SyntheticDataset) -> None:
    async def ask(batch_size: int) -> list[list[Reading]]:
        async with Batcher(lambda items: reader.read_canvases(torch.stack(items)), batch_size) as batcher:
            return await asyncio.gather(*(batcher.process(canvas) for canvas in canvases))

    canvases = (grids[:40].images / 255)[:, 0].split(1)
    for alone, together in zip(asyncio.run(ask(1)), asyncio.run(ask(32)), strict=True):
        assert alone[0].digits == together[0].digits
        assert alone[0].per_digit == pytest.approx(together[0].per_digit, rel=1e-4)


def test_cancelled_request_is_never_read() -> None:
    async def ask() -> None:
        async with Batcher(gate, max_batch_size=1) as batcher:
            reading = asyncio.create_task(batcher.process(number(0)))
            await asyncio.sleep(0.05)
            cancelled, kept = (asyncio.create_task(batcher.process(number(it))) for it in (1, 2))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.sleep(0)
            gate.open.set()
            await asyncio.gather(reading, kept)

    gate = GatedRead()
    asyncio.run(ask())
    assert gate.sizes == [1, 1]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_failing_image_fails_alone(batch_size: int) -> None:
    def read(canvases: list[Tensor]) -> list[Reading]:
        if any(7 in canvas for canvas in canvases):
            raise RuntimeError("seven")
        return numbered(canvases)

    async def ask() -> None:
        async with Batcher(gate, batch_size) as batcher:
            tasks = [asyncio.create_task(batcher.process(number(it))) for it in (5, 6, 7, 8)]
            await asyncio.sleep(0.05)
            gate.open.set()
            first, second, failed, last = await asyncio.gather(*tasks, return_exceptions=True)
            assert str(failed) == "seven"
            assert [each[0].digits for each in (first, second, last)] == [[5], [6], [8]]  # type: ignore[index]
            assert batcher.alive

    gate = GatedRead(read)
    asyncio.run(ask())


def test_missing_readings_raise_and_never_hang() -> None:
    async def ask() -> None:
        async with Batcher(lambda canvases: [], max_batch_size=4) as batcher:
            with pytest.raises(ValueError, match="shorter"):
                await batcher.process(number(1))
            assert batcher.alive

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_num_threads_is_set_in_the_thread_that_computes() -> None:
    async def ask() -> list[Reading]:
        async with Batcher(counted, max_batch_size=1, num_threads=1) as batcher:
            return await batcher.process(number(0))

    def counted(canvases: list[Tensor]) -> list[Reading]:
        return [Reading([torch.get_num_threads()], 1.0, [1.0])]

    before = torch.get_num_threads()
    assert asyncio.run(ask())[0].digits == [1]
    assert torch.get_num_threads() == before
