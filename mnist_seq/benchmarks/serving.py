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

from mnist_seq.benchmarks.timer import Measurement, ratio, summarize, time_interleaved
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import TrainConfig
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.inference import reader
from mnist_seq.training.torch_settings import limit_threads

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

NUM_CLIENTS = 64
ROUND_SECONDS, NUM_ROUNDS = 10.0, 6
"""How long a round is, and how many there are of each way."""
SEQUENTIAL_REQUESTS = 200
"""Pictures that are sent one after the other."""
MODEL_NAME = "grid"
BATCH_SIZES = {"in batches": 32, "one by one": 1}
"""Pictures that are read at once."""


@dataclass
class LoadTestResult:
    """How a round went."""

    latencies: list[float] = field(default_factory=list)
    """Seconds until each answer."""
    errors: int = 0
    """Answers that are no reading, and connections that were lost."""
    mismatches: int = 0
    """Readings of other digits than the reader itself reads."""


def serving(config: BenchConfig) -> list[Measurement]:
    """The `grid` reader over HTTP, on a CPU: 64 clients at once, in batches and one by one in turn; then one alone."""
    loaded = reader.load(f"pretrained:{MODEL_NAME}")
    pictures = _images()
    right = [reading.digits for reading in loaded.read(pictures)]
    requests = [_http_request(picture) for picture in pictures]
    loads: dict[str, list[LoadTestResult]] = {name: [] for name in BATCH_SIZES}
    with ExitStack() as running:
        ports = {name: running.enter_context(_running_service(batch)) for name, batch in BATCH_SIZES.items()}
        for _ in range(NUM_ROUNDS):
            for name, port in ports.items():
                loads[name].append(asyncio.run(_generate_load(port, requests, right, NUM_CLIENTS, ROUND_SECONDS)))
        alone = asyncio.run(_generate_load(ports["in batches"], requests, right, 1, ROUND_SECONDS)).latencies[
            -SEQUENTIAL_REQUESTS:
        ]
    with limit_threads(1):  # as the service has
        reads = time_interleaved({"read": lambda: loaded.read(pictures[0])}, SEQUENTIAL_REQUESTS)["read"]
    figures = [figure for name, rounds in loads.items() for figure in _measurements(name, rounds)]
    batched, single = ([float(len(it.latencies)) for it in rounds] for rounds in loads.values())
    return [
        *figures,
        ratio("in batches, as many answers as one by one", batched, single),
        summarize("one picture over HTTP", "ms", (1000 * it for it in alone)),
        summarize("one picture, by the reader itself", "ms", (1000 * it for it in reads)),
    ]


def _measurements(name: str, rounds: list[LoadTestResult]) -> list[Measurement]:
    return [
        summarize(f"{name}, answers", "a second", (len(it.latencies) / ROUND_SECONDS for it in rounds)),
        summarize(f"{name}, median wait", "ms", (1000 * median(it.latencies) for it in rounds)),
        summarize(
            f"{name}, 99th percentile of waits", "ms", (1000 * quantiles(it.latencies, n=100)[98] for it in rounds)
        ),
        summarize(f"{name}, errors", "answers", (it.errors for it in rounds)),
        summarize(f"{name}, other readings than the reader's own", "answers", (it.mismatches for it in rounds)),
    ]


def _images() -> list[Image.Image]:
    """Grids of digits that scikit-learn ships."""
    composed = compose("train", [f"data={MODEL_NAME}", "data.digits=uci"])
    splits = datasets.load(to_dataclass(composed.config, TrainConfig).data).splits
    images = splits["test"][:SEQUENTIAL_REQUESTS].images
    return [Image.fromarray(image.numpy()) for image in images[:, 0]]


def _http_request(image: Image.Image) -> bytes:
    """A whole HTTP request; a client in bytes leaves the two cores to the service."""
    file = io.BytesIO()
    image.save(file, "png")
    part = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
        + file.getvalue()
        + b"\r\n--b--\r\n"
    )
    head = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(part)}\r\n\r\n".encode() + part


@contextmanager
def _running_service(batch_size: int) -> Iterator[int]:
    """A service of its own; its port."""
    command = [
        sys.executable,
        "-m",
        "mnist_seq.serve",
        f"run=pretrained:{MODEL_NAME}",
        "port=0",
        f"max_batch_size={batch_size}",
    ]
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


async def _generate_load(
    port: int, requests: list[bytes], expected_digits: list[list[int]], clients: int, seconds: float
) -> LoadTestResult:
    """Each client asks again as soon as it is answered."""
    load, places, until = LoadTestResult(), count(), time.perf_counter() + seconds

    async def client() -> None:
        line = None
        while time.perf_counter() < until:
            place = next(places) % len(requests)
            try:
                line = line or await asyncio.open_connection("127.0.0.1", port)
                since = time.perf_counter()
                status, body = await _send_request(*line, requests[place])
                if status == 200:
                    load.latencies.append(time.perf_counter() - since)
                    load.mismatches += json.loads(body)["readings"][0]["digits"] != expected_digits[place]
                else:
                    load.errors += 1
            except (OSError, asyncio.IncompleteReadError):
                load.errors, line = load.errors + 1, None
        if line:
            line[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def _send_request(
    stream_reader: asyncio.StreamReader, stream_writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    stream_writer.write(request)
    head = await stream_reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    body = await stream_reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12]), body
