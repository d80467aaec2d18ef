"""Suite serving: throughput and latency of the HTTP service, with and without batching, and by ONNX Runtime."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median, quantiles
from typing import TYPE_CHECKING

from PIL import Image

from mnist_seq import extras
from mnist_seq.benchmarks.load_generator import LoadTestResult, encode_request, generate_load
from mnist_seq.benchmarks.timer import Measurement, ratio, summarize, time_interleaved
from mnist_seq.compose_config import compose_training
from mnist_seq.config.validation import check
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.inference import reader
from mnist_seq.training.torch_settings import limit_threads

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

NUM_CLIENTS = 64
NUM_ROUNDS = 6
"""Rounds of each service."""
ROUND_SECONDS = 10.0
SEQUENTIAL_REQUESTS = 200
"""Images, and latencies of a single client that count: its last ones."""
MODEL_NAME = "grid"
SERVICES = {
    "batched": ["engine=torch"],
    "unbatched": ["engine=torch", "max_batch_size=1"],
    "ONNX Runtime": ["engine=onnx"],
}
"""Name -> overrides of the service."""


def serving(config: BenchConfig) -> list[Measurement]:
    """The pretrained `grid` model over HTTP on a CPU: 64 clients; then a single client."""
    model = reader.load(f"pretrained:{MODEL_NAME}")
    images = _images()
    expected = [reading.digits for reading in model.read(images)]
    requests = [encode_request(image) for image in images]
    services = {
        name: it for name, it in SERVICES.items() if "engine=torch" in it or extras.missing_package("onnx") is None
    }
    results: dict[str, list[LoadTestResult]] = {name: [] for name in services}
    with ExitStack() as stack:
        ports = {name: stack.enter_context(_running_service(overrides)) for name, overrides in services.items()}
        for _ in range(NUM_ROUNDS):
            for name, port in ports.items():
                results[name].append(asyncio.run(generate_load(port, requests, expected, NUM_CLIENTS, ROUND_SECONDS)))
        single = {
            name: asyncio.run(generate_load(port, requests, expected, 1, ROUND_SECONDS)).latencies
            for name, port in ports.items()
            if name != "unbatched"
        }
    with limit_threads(1):  # as the service runs it
        read_seconds = time_interleaved({"read": lambda: model.read(images[0])}, SEQUENTIAL_REQUESTS)["read"]
    responses = {name: [float(len(it.latencies)) for it in rounds] for name, rounds in results.items()}
    return [
        *(measurement for name, rounds in results.items() for measurement in _measurements(name, rounds)),
        ratio("batched, speedup over unbatched", responses["batched"], responses["unbatched"]),
        *(
            summarize(f"{name}, latency of a single client", "ms", (1000 * it for it in seconds[-SEQUENTIAL_REQUESTS:]))
            for name, seconds in single.items()
        ),
        summarize("single image, latency of Reader.read", "ms", (1000 * it for it in read_seconds)),
    ]


def _measurements(name: str, rounds: list[LoadTestResult]) -> list[Measurement]:
    for it in rounds:
        check(
            len(it.latencies) > 1,
            f"the service, {name}, answered {len(it.latencies)} of the requests in "
            f"{ROUND_SECONDS} s, with {it.errors} errors: rerun the suite with less other load",
        )
    p99 = (1000 * quantiles(it.latencies, n=100)[98] for it in rounds)
    return [
        summarize(f"{name}, responses", "responses/s", (len(it.latencies) / ROUND_SECONDS for it in rounds)),
        summarize(f"{name}, median latency", "ms", (1000 * median(it.latencies) for it in rounds)),
        summarize(f"{name}, p99 latency", "ms", p99),
        summarize(f"{name}, errors", "responses", (it.errors for it in rounds)),
        summarize(f"{name}, mismatches with Reader.read", "responses", (it.mismatches for it in rounds)),
    ]


def _images() -> list[Image.Image]:
    """Test grids made of the digits that scikit-learn includes."""
    splits = datasets.load(compose_training([f"data={MODEL_NAME}", "data.digits=uci"]).data).splits
    images = splits["test"][:SEQUENTIAL_REQUESTS].images
    return [Image.fromarray(image.numpy()) for image in images[:, 0]]


@contextmanager
def _running_service(overrides: list[str]) -> Iterator[int]:
    """Run a service in a process of its own; yields its port.

    Raises:
        UserError: the service does not start.
    """
    command = [sys.executable, "-m", "mnist_seq.serve", f"run=pretrained:{MODEL_NAME}", "port=0", *overrides]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        assert process.stderr
        log = ""
        while not (match := re.search(r"listening on http://\S+?:(\d+)", log)):
            line = process.stderr.readline()
            if not line:
                raise UserError(f"the service did not start: {log.strip()}")
            log += line
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would block the service
        yield int(match[1])
    finally:
        process.terminate()
        process.wait()
