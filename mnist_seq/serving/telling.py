"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Counts:
    """Of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "mnist_seq"}
        self._requests = Counter("requests", "Requests by path and status.", ["path", "status"], **made)
        self._seconds = Histogram(
            "request_seconds", "From a request's headers to its answer.", ["path"], buckets=_SECONDS, **made
        )
        self._batches = Histogram("batch_pictures", "Pictures read at once.", buckets=_SIZES, **made)
        self._in_hand = Gauge("pictures_in_hand", "Pictures that are decoded, wait or are read.", **made)
        self.pictures = Counter("pictures", "Pictures read.", **made)

    def watch(self, in_hand: Callable[[], int]) -> None:
        """Where the number of pictures in hand is looked up."""
        self._in_hand.set_function(in_hand)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, size: int) -> None:
        self._batches.observe(size)
        self.pictures.inc(size)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
