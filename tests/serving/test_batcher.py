"""Pictures of many requests, read together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.inference.reader import Reader, Reading
from mnist_seq.serving.batcher import Batcher


def numbered(canvases: Tensor) -> list[Reading]:
    return [Reading([int(each)], 1.0, [1.0]) for each in canvases[:, 0, 0]]


def number(value: int) -> Tensor:
    return torch.full((1, 2, 2), value)


class Gate:
    """Reads only when told to, and keeps the size of what it was given."""

    def __init__(self, read: Callable[[Tensor], list[Reading]] = numbered) -> None:
        self.open, self.sizes, self._read = threading.Event(), [], read  # type: ignore[var-annotated]

    def __call__(self, canvases: Tensor) -> list[Reading]:
        assert self.open.wait(10)
        self.sizes.append(len(canvases))
        return self._read(canvases)


def test_each_gets_its_own_and_what_waits_is_read_together() -> None:
    async def ask() -> list[list[Reading]]:
        async with Batcher(gate, max_batch_size=4) as batcher:
            asked = [asyncio.create_task(batcher.read(torch.cat([number(it), number(-it)]))) for it in range(9)]
            await asyncio.sleep(0.05)
            gate.open.set()
            return await asyncio.gather(*asked)

    gate = Gate()
    found = asyncio.run(ask())
    assert [[reading.digits for reading in each] for each in found] == [[[it], [-it]] for it in range(9)]
    assert sum(gate.sizes) == 18
    assert max(gate.sizes) == 4
    assert gate.sizes.count(4) >= 4


def test_one_that_comes_alone_does_not_wait_for_others() -> None:
    async def ask() -> None:
        async with Batcher(gate, max_batch_size=64) as batcher:
            for it in range(3):
                await batcher.read(number(it))

    gate = Gate()
    gate.open.set()
    asyncio.run(ask())
    assert gate.sizes == [1, 1, 1]


def test_a_batch_reads_what_each_alone_reads(reader: Reader, grids: SyntheticDataset) -> None:
    async def ask(batch: int) -> list[list[Reading]]:
        async with Batcher(reader.read_canvases, batch) as batcher:
            return await asyncio.gather(*(batcher.read(canvas) for canvas in canvases))

    canvases = (grids[:40].images / 255)[:, 0].split(1)
    for alone, together in zip(asyncio.run(ask(1)), asyncio.run(ask(32)), strict=True):
        assert alone[0].digits == together[0].digits
        assert alone[0].per_digit == pytest.approx(together[0].per_digit, rel=1e-4)


def test_who_gives_up_is_not_read() -> None:
    async def ask() -> None:
        async with Batcher(gate, max_batch_size=1) as batcher:
            reading = asyncio.create_task(batcher.read(number(0)))
            await asyncio.sleep(0.05)
            leaves, stays = (asyncio.create_task(batcher.read(number(it))) for it in (1, 2))
            await asyncio.sleep(0)
            leaves.cancel()
            await asyncio.sleep(0)
            gate.open.set()
            await asyncio.gather(reading, stays)

    gate = Gate()
    asyncio.run(ask())
    assert gate.sizes == [1, 1]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_picture_that_cannot_be_read_fails_alone(batch: int) -> None:
    def read(canvases: Tensor) -> list[Reading]:
        if 7 in canvases:
            raise RuntimeError("seven")
        return numbered(canvases)

    async def ask() -> None:
        async with Batcher(gate, batch) as batcher:
            asked = [asyncio.create_task(batcher.read(number(it))) for it in (5, 6, 7, 8)]
            await asyncio.sleep(0.05)
            gate.open.set()
            first, second, failed, last = await asyncio.gather(*asked, return_exceptions=True)
            assert str(failed) == "seven"
            assert [each[0].digits for each in (first, second, last)] == [[5], [6], [8]]  # type: ignore[index]
            assert batcher.alive

    gate = Gate(read)
    asyncio.run(ask())


def test_a_reader_that_loses_pictures_fails_and_does_not_hang() -> None:
    async def ask() -> None:
        async with Batcher(lambda canvases: [], max_batch_size=4) as batcher:
            with pytest.raises(ValueError, match="shorter"):
                await batcher.read(number(1))
            assert batcher.alive

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_threads_are_told_where_they_compute() -> None:
    async def ask() -> list[Reading]:
        async with Batcher(counted, max_batch_size=1, num_threads=1) as batcher:
            return await batcher.read(number(0))

    def counted(canvases: Tensor) -> list[Reading]:
        return [Reading([torch.get_num_threads()], 1.0, [1.0])]

    before = torch.get_num_threads()
    assert asyncio.run(ask())[0].digits == [1]
    assert torch.get_num_threads() == before
