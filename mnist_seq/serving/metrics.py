"""Prometheus metrics of the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_DURATION_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Upper bounds, seconds."""
_BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper bounds, images."""


class ServiceMetrics:
    """Counters and histograms of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"registry": self.registry, "namespace": "mnist_seq"}
        self._requests = Counter("requests", "Requests by path and status.", ["path", "status"], **common)
        self._duration = Histogram(
            "request_duration_seconds",
            "Seconds from the headers of a request to the end of its response.",
            ["path"],
            buckets=_DURATION_BUCKETS,
            **common,
        )
        self._batch_size = Histogram("batch_size", "Images per batch.", buckets=_BATCH_SIZE_BUCKETS, **common)
        self._in_flight = Gauge("images_in_flight", "Images being decoded, queued or read.", **common)
        self._images = Counter("images", "Images read.", **common)

    def track_in_flight(self, count: Callable[[], int]) -> None:
        """Set the function that returns the number of images in flight."""
        self._in_flight.set_function(count)

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._duration.labels(path).observe(seconds)

    def observe_batch(self, size: int) -> None:
        self._batch_size.observe(size)

    def observe_images(self, count: int) -> None:
        self._images.inc(count)

    def render(self) -> bytes:
        """Render all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
