"""The middleware around an application of a few lines."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response

from mnist_seq.config import RequestLimits
from mnist_seq.serving.metrics import ServiceMetrics
from mnist_seq.serving.middleware import RequestMiddleware


def call(middleware: RequestMiddleware, path: str) -> list[dict[str, Any]]:
    """Send one request, and return all messages of the response."""
    sent: list[dict[str, Any]] = []
    routes = [SimpleNamespace(path="/read")]
    scope = {"type": "http", "headers": [], "path": path, "method": "GET", "app": SimpleNamespace(routes=routes)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(middleware(scope, receive, send))
    return sent


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 131072, 1_000_000])
def test_response_is_sent_in_chunks_so_that_a_slow_client_has_time_for_each(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response(body)(scope, receive, send)

    start, *chunks = call(RequestMiddleware(app, RequestLimits(), ServiceMetrics()), "/read")
    assert dict(start["headers"])[b"content-length"] == str(size).encode()
    assert b"".join(chunk["body"] for chunk in chunks) == body
    assert max(len(chunk["body"]) for chunk in chunks) <= 65536
    assert [chunk.get("more_body", False) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


def test_refused_request_is_counted_under_its_path() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response(Request(scope).url.path)(scope, receive, send)

    metrics = ServiceMetrics()
    middleware = RequestMiddleware(app, RequestLimits(concurrency=1), metrics)
    middleware.num_active = 1
    for path in ("/read", "/unknown"):
        assert call(middleware, path)[0]["status"] == 429
    families = text_string_to_metric_families(metrics.render().decode())
    counted = {
        (sample.labels["path"], sample.labels["status"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "mnist_seq_requests_total"
    }
    assert counted == {("/read", "429"): 1, ("other", "429"): 1}
