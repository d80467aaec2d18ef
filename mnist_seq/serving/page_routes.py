"""Routes of the page: GET /, and what it fetches to read in the browser."""

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from mnist_seq.config import ServeConfig
from mnist_seq.errors import UserError
from mnist_seq.extras import missing_package
from mnist_seq.inference.reader import Reader
from mnist_seq.serving.background import ProcessDied, run_in_process
from mnist_seq.serving.page_builder import PageModel, build_page, packed_runtime
from mnist_seq.serving.page_models import pack_graph, page_card


def add_page(app: FastAPI, reader: Reader, config: ServeConfig, name: str, dependencies: Sequence[Any]) -> None:
    """Add the page to a service.

    The service reads for it; if the extra `onnx` is installed, the browser can read too. What the page fetches for that
    needs the token, if the service has one; the page itself does not.

    Args:
        dependencies: check the token.
    """
    graph_id = f"model-{_digest_weights(reader)}"  # a page that was sent by a service of another model finds none

    def html() -> bytes:
        card = page_card(name, reader.model, reader.card, graph_id)
        cards = [card | {"graph": None, "attended": None}]
        if missing_package("onnx") is None:
            cards.append(card | {"name": f"{name}, in this browser"})
        return build_page([PageModel(card, None) for card in cards], True, config.token is not None).encode()

    async def packed_graph() -> bytes:
        return await run_in_process(_packed_graph, await asyncio.to_thread(_pickled, reader))

    page_once, runtime_once = (_Once(partial(asyncio.to_thread, function)) for function in (html, packed_runtime))
    graph_once = _Once(packed_graph)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse((await page_once.get()).content)

    @app.get("/page/runtime", dependencies=dependencies, include_in_schema=False)
    async def runtime(request: Request) -> Response:
        return _respond_cached(request, await runtime_once.get())

    @app.get(f"/page/{graph_id}", dependencies=dependencies, include_in_schema=False)
    async def model(request: Request) -> Response:
        try:
            return _respond_cached(request, await graph_once.get())
        except UserError as error:
            raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, str(error)) from error
        except ProcessDied as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error


class _Tagged(NamedTuple):
    """Content with a tag that changes with it."""

    content: bytes
    etag: str


class _Once:
    """Content that is computed at its first use, for all who wait for it."""

    def __init__(self, compute: Callable[[], Awaitable[bytes]]) -> None:
        self._compute = compute
        self._task: asyncio.Task[_Tagged] | None = None

    async def get(self) -> _Tagged:
        self._task = self._task or asyncio.create_task(self._compute_tagged())
        try:
            return await asyncio.shield(self._task)
        except (ProcessDied, OSError):
            self._task = None  # the next one tries anew
            raise

    async def _compute_tagged(self) -> _Tagged:
        content = await self._compute()
        return _Tagged(content, f'"{hashlib.blake2b(content, digest_size=8).hexdigest()}"')


def _respond_cached(request: Request, tagged: _Tagged) -> Response:
    """Respond with content in gzip, which the browser keeps, and asks only whether it has changed."""
    headers = {"ETag": tagged.etag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tagged.etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(tagged.content, media_type="application/gzip", headers=headers)


def _digest_weights(reader: Reader) -> str:
    digest = hashlib.blake2b(json.dumps(reader.card, sort_keys=True, default=str).encode(), digest_size=8)
    for weight in filter(torch.is_tensor, reader.model.state_dict().values()):
        digest.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return digest.hexdigest()


def _pickled(reader: Reader) -> bytes:
    try:
        return pickle.dumps((deepcopy(reader.model).cpu(), reader.card))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(f"this model cannot be pickled, so that the browser cannot read with it: {error}") from error


def _packed_graph(model_and_card: bytes) -> bytes:
    return pack_graph(*pickle.loads(model_and_card))
