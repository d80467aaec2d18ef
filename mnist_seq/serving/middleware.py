"""ASGI middleware: request ids, limits on bodies and concurrency, metrics, and one log line per request."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from http import HTTPStatus

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mnist_seq.config import RequestLimits
from mnist_seq.serving.metrics import ServiceMetrics

logger = logging.getLogger("mnist_seq.requests")
_REQUEST_ID = re.compile(rb"[\w.-]{1,64}", re.ASCII)
CLIENT_CLOSED_REQUEST = 499
"""Status that is logged and counted if the client disconnects before the response (nginx's code)."""
_CHUNK_SIZE = 65536
"""Most bytes of a response that are sent at once: the timeout of a slow client is that of a chunk."""


class RequestMiddleware:
    """Enforce `limits` on every request, count it, and log it."""

    def __init__(self, app: ASGIApp, limits: RequestLimits, metrics: ServiceMetrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.num_active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        header = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = header.decode() if _REQUEST_ID.fullmatch(header) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status, start = HTTPStatus.INTERNAL_SERVER_ERROR.value, time.perf_counter()

        async def send_with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await _send_in_chunks(message, send)

        self.num_active += 1
        try:
            await self._limit_concurrency(scope, receive, send_with_request_id)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        finally:
            self.num_active -= 1
            seconds = time.perf_counter() - start
            known = {getattr(route, "path", None) for route in scope["app"].routes}
            path = scope["path"] if scope["path"] in known else "other"  # unknown ones would create a time series each
            self.metrics.observe_request(path, status, seconds)
            fields = {"request_id": request_id, "method": scope["method"], "path": scope["path"][:200]}
            fields |= {"status": status, "ms": round(1000 * seconds, 1)}
            if num_images := scope["state"].get("num_images"):
                fields["num_images"] = num_images
            logger.info("", extra={"fields": fields})

    async def _limit_concurrency(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.num_active > self.limits.concurrency and scope["path"] != "/healthz":  # a busy service is healthy
            body = {"detail": f"{self.limits.concurrency} requests in progress: retry later"}
            response = JSONResponse(body, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "1"})
            await response(scope, receive, send)
        else:
            await self.app(scope, self._limit_body(scope, receive), send)

    def _limit_body(self, scope: Scope, receive: Receive) -> Receive:
        """Wrap `receive` with limits on the body's bytes and on the seconds until it is complete.

        The returned function raises HTTPException: 413 as soon as the body is too large, 408 after the timeout.
        """
        max_bytes, timeout, close = self.limits.body_bytes, self.limits.timeout, {"Connection": "close"}
        reason = f"the body has more than {max_bytes:,} bytes: send fewer or smaller images"
        too_large = HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason, close)
        content_length = dict(scope["headers"]).get(b"content-length", b"0")
        num_bytes, more_body, deadline = 0, True, asyncio.get_running_loop().time() + timeout

        async def limited_receive() -> Message:
            nonlocal num_bytes, more_body
            if not more_body:
                return await receive()  # waits for the client to disconnect
            if content_length.isdigit() and int(content_length) > max_bytes:
                raise too_large
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                reason = f"the body took more than {timeout:g} s: send less data, or send it faster"
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, reason, close) from error
            num_bytes, more_body = num_bytes + len(message.get("body", b"")), message.get("more_body", False)
            if num_bytes > max_bytes:
                raise too_large
            return message

        return limited_receive


async def _send_in_chunks(message: Message, send: Send) -> None:
    body = message.get("body", b"")
    last = max(0, len(body) - 1) // _CHUNK_SIZE * _CHUNK_SIZE
    for start in range(0, last, _CHUNK_SIZE):
        await send({**message, "body": body[start : start + _CHUNK_SIZE], "more_body": True})
    await send({**message, "body": body[last:]} if last else message)
