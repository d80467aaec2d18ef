"""Routes of the page: GET /, and what it fetches to read in the browser."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse, Response

from mnist_seq.config import ServeConfig
from mnist_seq.errors import UserError
from mnist_seq.extras import missing_package
from mnist_seq.inference.reader import Reader
from mnist_seq.serving.background import ProcessDied, run_in_process
from mnist_seq.serving.page_builder import PageModel, build_page, packed_runtime
from mnist_seq.serving.page_models import pack_graph, page_card

_GRAPH = "model"
"""Id of the model's graph."""
_GZIP = "application/gzip"


def add_page(app: FastAPI, reader: Reader, config: ServeConfig, name: str, dependencies: Sequence[Any]) -> None:
    """Add the page to a service.

    The service reads for it; if the extra `onnx` is installed, the browser can read too. What the page fetches for that
    needs the token, if the service has one; the page itself does not.

    Args:
        dependencies: check the token.
    """
    graph = _Once(_packed_graph, lambda: _pickled(reader))

    @cache
    def html() -> str:
        card = page_card(name, reader.model, reader.card, _GRAPH)
        cards = [card | {"graph": None, "attended": None}]
        if missing_package("onnx") is None:
            cards.append(card | {"name": f"{name}, in this browser"})
        return build_page([PageModel(card, None) for card in cards], True, config.token is not None)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(await asyncio.to_thread(html))

    @app.get("/page/runtime", dependencies=dependencies, include_in_schema=False)
    async def runtime() -> Response:
        return Response(packed_runtime(), media_type=_GZIP)

    @app.get(f"/page/{_GRAPH}", dependencies=dependencies, include_in_schema=False)
    async def model() -> Response:
        try:
            return Response(await graph.get(), media_type=_GZIP)
        except UserError as error:
            raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, str(error)) from error
        except ProcessDied as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error


class _Once:
    """A value that is computed at its first use, in a process of its own."""

    def __init__(self, function: Callable[[bytes], bytes], make_argument: Callable[[], bytes]) -> None:
        self._function, self._make_argument = function, make_argument
        self._task: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        self._task = self._task or asyncio.create_task(self._compute())
        try:
            return await asyncio.shield(self._task)
        except (ProcessDied, OSError):
            self._task = None  # the next one tries anew
            raise

    async def _compute(self) -> bytes:
        return await run_in_process(self._function, await asyncio.to_thread(self._make_argument))


def _pickled(reader: Reader) -> bytes:
    try:
        return pickle.dumps((deepcopy(reader.model).cpu(), reader.card))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(f"this model cannot be pickled, so that the browser cannot read with it: {error}") from error


def _packed_graph(model_and_card: bytes) -> bytes:
    return pack_graph(*pickle.loads(model_and_card))
