"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_DURATION_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServiceMetrics:
    """Of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "mnist_seq"}
        self._requests = Counter("requests", "Requests by path and status.", ["path", "status"], **made)
        self._duration = Histogram(
            "request_seconds", "From a request's headers to its answer.", ["path"], buckets=_DURATION_BUCKETS, **made
        )
        self._batch_size = Histogram("batch_pictures", "Pictures read at once.", buckets=_BATCH_SIZE_BUCKETS, **made)
        self._in_flight = Gauge("pictures_in_hand", "Pictures that are decoded, wait or are read.", **made)
        self.images = Counter("pictures", "Pictures read.", **made)

    def track_in_flight(self, count: Callable[[], int]) -> None:
        """Where the number of pictures in hand is looked up."""
        self._in_flight.set_function(count)

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._duration.labels(path).observe(seconds)

    def observe_batch(self, size: int) -> None:
        self._batch_size.observe(size)
        self.images.inc(size)

    def render(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
