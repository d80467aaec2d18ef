"""What stands before every request: a name for it, limits of its body and of how many there are, a line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mnist_seq.config import RequestLimits
from mnist_seq.serving.metrics import ServiceMetrics

logger = logging.getLogger("mnist_seq.requests")
_REQUEST_ID = re.compile(rb"[\w.-]{1,64}", re.ASCII)
CLIENT_CLOSED_REQUEST = 499
"""How a request is logged and counted whose client left before it was answered (nginx's number)."""


class RequestMiddleware:
    """ASGI middleware; no request costs more than `limits` allow, and each is counted and told in a line of JSON."""

    def __init__(self, app: ASGIApp, limits: RequestLimits, metrics: ServiceMetrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.num_active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        name = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request"] = name
        status, began = HTTPStatus.INTERNAL_SERVER_ERROR.value, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        self.num_active += 1
        try:
            await self._limit_concurrency(scope, receive, answer)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        finally:
            self.num_active -= 1
            seconds = time.perf_counter() - began
            self.metrics.observe_request(_route_path(scope), status, seconds)
            logger.info("", extra={"facts": _log_fields(scope, name, status, seconds)})

    async def _limit_concurrency(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.num_active > self.limits.concurrency and scope["path"] != "/healthz":  # busy is not ill
            reason = {"detail": f"{self.limits.concurrency} requests are being answered: come back"}
            busy = JSONResponse(reason, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "1"})
            await busy(scope, receive, send)
        else:
            await self.app(scope, self._limit_body(scope, receive), send)

    def _limit_body(self, scope: Scope, receive: Receive) -> Receive:
        """Receives a body of so many bytes in so many seconds.

        Raises:
            HTTPException: 413 and 408, as soon as there is more, or the time is over.
        """
        most, seconds = self.limits.body_bytes, self.limits.timeout
        told = dict(scope["headers"]).get(b"content-length", b"0")
        taken, more, until = 0, True, asyncio.get_running_loop().time() + seconds

        async def limited() -> Message:
            nonlocal taken, more
            if not more:
                return await receive()  # waits for the client to leave
            if told.isdigit() and int(told) > most:
                raise _body_too_large(most)
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as problem:
                reason = f"the body took more than {seconds:g} s: send less, or faster"
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, reason, {"Connection": "close"}) from problem
            taken, more = taken + len(message.get("body", b"")), message.get("more_body", False)
            if taken > most:
                raise _body_too_large(most)
            return message

        return limited


def _body_too_large(max_bytes: int) -> HTTPException:
    reason = f"a body of more than {max_bytes:,} bytes: send fewer or smaller pictures"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason, {"Connection": "close"})


def _route_path(scope: Scope) -> str:
    """The path, if it is one of ours: others would make a time series each."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))


def _log_fields(scope: Scope, request_id: str, status: int, seconds: float) -> dict[str, Any]:
    pictures = scope["state"].get("pictures")
    return {
        "request": request_id,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(1000 * seconds, 1),
        **({"pictures": pictures} if pictures else {}),
    }


class JSONFormatter(logging.Formatter):
    """A line of JSON for each record: time, level, where from, and what; `extra={"facts": {...}}` adds its own keys."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if message := record.getMessage():
            said["message"] = message
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said | getattr(record, "facts", {}))
