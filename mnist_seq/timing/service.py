"""A reader as it is used: over HTTP, under load and alone."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median, quantiles
from typing import TYPE_CHECKING

from PIL import Image

from mnist_seq.errors import UserError
from mnist_seq.learn import machine
from mnist_seq.timing.clock import Figure, in_turn, ratio, spread
from mnist_seq.use import reader

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

CLIENTS = 64
SECONDS, ROUNDS = 10.0, 6
"""How long a round is, and how many there are of each way."""
ALONE = 200
"""Pictures that are sent one after the other."""
READER = "grid"
WAYS = {"in batches": 32, "one by one": 1}
"""Pictures that are read at once."""


@dataclass
class Load:
    """How a round went."""

    waits: list[float] = field(default_factory=list)
    """Seconds until each answer."""
    errors: int = 0
    """Answers that are no reading, and connections that were lost."""
    wrong: int = 0
    """Readings of other digits than the reader itself reads."""


def service(config: BenchConfig) -> list[Figure]:
    """The `grid` reader over HTTP, on a CPU: 64 clients at once, in batches and one by one in turn; then one alone."""
    loaded = reader.load(f"pretrained:{READER}")
    pictures = _pictures()
    right = [reading.digits for reading in loaded.read(pictures)]
    requests = [_request(picture) for picture in pictures]
    loads: dict[str, list[Load]] = {name: [] for name in WAYS}
    with ExitStack() as running:
        ports = {name: running.enter_context(_started(batch)) for name, batch in WAYS.items()}
        for _ in range(ROUNDS):
            for name, port in ports.items():
                loads[name].append(asyncio.run(_load(port, requests, right, CLIENTS, SECONDS)))
        alone = asyncio.run(_load(ports["in batches"], requests, right, 1, SECONDS)).waits[-ALONE:]
    with machine.threads(1):  # as the service has
        reads = in_turn({"read": lambda: loaded.read(pictures[0])}, ALONE)["read"]
    figures = [figure for name, rounds in loads.items() for figure in _told(name, rounds)]
    batched, single = ([float(len(it.waits)) for it in rounds] for rounds in loads.values())
    return [
        *figures,
        ratio("in batches, as many answers as one by one", batched, single),
        spread("one picture over HTTP", "ms", (1000 * it for it in alone)),
        spread("one picture, by the reader itself", "ms", (1000 * it for it in reads)),
    ]


def _told(name: str, rounds: list[Load]) -> list[Figure]:
    return [
        spread(f"{name}, answers", "a second", (len(it.waits) / SECONDS for it in rounds)),
        spread(f"{name}, median wait", "ms", (1000 * median(it.waits) for it in rounds)),
        spread(f"{name}, 99th percentile of waits", "ms", (1000 * quantiles(it.waits, n=100)[98] for it in rounds)),
        spread(f"{name}, errors", "answers", (it.errors for it in rounds)),
        spread(f"{name}, other readings than the reader's own", "answers", (it.wrong for it in rounds)),
    ]


def _pictures() -> list[Image.Image]:
    """Grids of digits that scikit-learn ships."""
    import mnist_seq

    images = mnist_seq.scenes(READER, "data.digits=uci", split="test")[:ALONE].images
    return [Image.fromarray(image.numpy()) for image in images[:, 0]]


def _request(picture: Image.Image) -> bytes:
    """A whole HTTP request; a client in bytes leaves the two cores to the service."""
    file = io.BytesIO()
    picture.save(file, "png")
    part = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
        + file.getvalue()
        + b"\r\n--b--\r\n"
    )
    head = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(part)}\r\n\r\n".encode() + part


@contextmanager
def _started(batch: int) -> Iterator[int]:
    """A service of its own; its port."""
    command = [sys.executable, "-m", "mnist_seq.serve", f"run=pretrained:{READER}", "port=0", f"batch={batch}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        assert process.stderr
        said = ""
        while not (found := re.search(r"listening on http://\S+?:(\d+)", said)):
            line = process.stderr.readline()
            if not line:
                raise UserError(f"the service did not start: {said.strip()}")
            said += line
        threading.Thread(target=process.stderr.read, daemon=True).start()  # or it would wait to be heard
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


async def _load(port: int, requests: list[bytes], right: list[list[int]], clients: int, seconds: float) -> Load:
    """Each client asks again as soon as it is answered."""
    load, places, until = Load(), count(), time.perf_counter() + seconds

    async def client() -> None:
        line = None
        while time.perf_counter() < until:
            place = next(places) % len(requests)
            try:
                line = line or await asyncio.open_connection("127.0.0.1", port)
                since = time.perf_counter()
                status, body = await _ask(*line, requests[place])
                if status == 200:
                    load.waits.append(time.perf_counter() - since)
                    load.wrong += json.loads(body)["readings"][0]["digits"] != right[place]
                else:
                    load.errors += 1
            except (OSError, asyncio.IncompleteReadError):
                load.errors, line = load.errors + 1, None
        if line:
            line[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def _ask(answers: asyncio.StreamReader, line: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    line.write(request)
    head = await answers.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    body = await answers.readexactly(int(length[1]) if length else 0)
    return int(head[9:12]), body
