"""A reader over HTTP: POST /read, GET /healthz, GET /metrics, and /docs for people."""

from __future__ import annotations

import asyncio
import base64
import hmac
import io
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from PIL import Image, ImageDraw
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

import mnist_seq
from mnist_seq.config import ServeConfig
from mnist_seq.inference.reader import Reader
from mnist_seq.serving import uploads
from mnist_seq.serving.metrics import ServiceMetrics
from mnist_seq.serving.middleware import RequestMiddleware
from mnist_seq.serving.pipeline import InferencePipeline, QueueFull

T = TypeVar("T")


class ReadingResponse(BaseModel):
    """What was read in a picture."""

    digits: list[int] = Field(description="in reading order; none where no ink is seen", examples=[[3, 7, 1, 8]])
    confidence: float = Field(description="probability of the whole reading, its end included", examples=[0.97])
    per_digit: list[float] = Field(description="probability of each digit", examples=[[0.99, 0.99, 1.0, 0.99]])
    blank: bool = Field(False, description="no ink was found, and the model was not asked")
    cells: list[int | None] | None = Field(
        None, description="what each cell holds, of a model that reads by cells", examples=[None]
    )


class ReadResponse(BaseModel):
    """What was read in the pictures of a request, in their order."""

    model: str = Field(examples=["grid"])
    readings: list[ReadingResponse]


class HealthResponse(BaseModel):
    """Whether requests are answered, and by what."""

    ready: bool
    model: str = Field(examples=["grid"])
    commit: str | None = Field(description="of the code that trained it")
    version: str = Field(examples=["0.1.0"])
    self_test: str = Field(description="how well it reads built-in scenes")
    canvas: list[int] = Field(description="height and width of what it sees, pixels", examples=[[56, 56]])
    max_digits: int = Field(examples=[4])


class ErrorResponse(BaseModel):
    """Why a request was refused."""

    detail: str


BEARER_AUTH = HTTPBearer(auto_error=False, description="the token that the service was started with")
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "No token, or another one, where one is asked for"},
    408: {"model": ErrorResponse, "description": "The body took too long to arrive"},
    413: {"model": ErrorResponse, "description": "Too many bytes or pixels"},
    415: {"model": ErrorResponse, "description": "Neither a form nor JSON, or not a PNG, JPEG or WebP file"},
    422: {"model": ErrorResponse, "description": "No pictures, too many, or damaged ones"},
    429: {"model": ErrorResponse, "description": "Too busy: come back after Retry-After seconds"},
}


def _example_image() -> str:
    """A picture to try the service with, in base64."""
    picture, file = Image.new("L", (28, 28)), io.BytesIO()
    ImageDraw.Draw(picture).line([(7, 6), (20, 6), (12, 23)], fill=255, width=3, joint="curve")
    picture.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
                "required": ["files"],
            },
            "encoding": {"files": {"contentType": "image/png, image/jpeg, image/webp"}},
        },
        "application/json": {
            "schema": uploads.ImagesRequest.model_json_schema(),
            "examples": {"a seven": {"value": {"images": [_example_image()]}}},
        },
    },
}


def create_app(reader: Reader, config: ServeConfig, self_test: str = "not examined") -> FastAPI:
    """The service as an ASGI application.

    Args:
        gate: what was said of the reader when it was examined.
    """
    name = str(reader.card.get("name", Path(config.run).name))
    limits, counts = config.limits, ServiceMetrics()
    decode = partial(uploads.decode_upload, limits=limits)
    desk = InferencePipeline(
        reader,
        decode,
        counts,
        max_batch_size=config.max_batch_size,
        max_in_flight=limits.queue_size,
        num_threads=config.threads,
    )
    counts.track_in_flight(lambda: desk.num_in_flight)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with desk:
            yield

    app = FastAPIOffline(
        title=f"mnist_seq: {name}",
        summary="Reads sequences of handwritten digits in pictures.",
        version=mnist_seq.__version__,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.add_middleware(RequestMiddleware, limits=limits, metrics=counts)

    def admitted(given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER_AUTH)]) -> None:
        shown = given.credentials if given else ""
        if not hmac.compare_digest(shown.encode(), str(config.token).encode()):
            reason = "give the service's token: Authorization: Bearer ..."
            raise HTTPException(HTTPStatus.UNAUTHORIZED, reason, {"WWW-Authenticate": "Bearer"})

    bearing = [Depends(admitted)] if config.token else []

    @app.post(
        "/read",
        dependencies=bearing,
        responses=ERROR_RESPONSES,
        openapi_extra={"requestBody": _REQUEST_BODY},
        summary="Read pictures",
        tags=["reader"],
    )
    async def read(request: Request) -> ReadResponse:
        """One or several PNG, JPEG or WebP files of any size: as files of a form, or in base64 as JSON.

        A picture of the model's own canvas size is read as it is; of any other the ink is found, and fitted.
        """
        found = await uploads.read_files(request, limits)
        request.state.pictures = len(found)
        try:
            async with asyncio.timeout(limits.timeout):
                readings = await _cancel_on_disconnect(request, desk.read(found))
        except QueueFull as problem:
            raise _too_many_requests(f"{desk.num_in_flight} pictures are in hand") from problem
        except TimeoutError as problem:
            raise _too_many_requests(f"not read within {limits.timeout:g} s") from problem
        return ReadResponse(
            model=name, readings=[ReadingResponse.model_validate(each, from_attributes=True) for each in readings]
        )

    @app.get(
        "/healthz",
        responses={503: {"model": HealthResponse, "description": "Not ready"}},
        summary="Ready or not",
        tags=["operation"],
    )
    async def healthz() -> Any:
        spec, ready = reader.model.spec, desk.ready
        health = HealthResponse(
            ready=ready,
            model=name,
            commit=reader.card.get("revision"),
            version=mnist_seq.__version__,
            self_test=self_test,
            canvas=[spec.height, spec.width],
            max_digits=spec.max_length,
        )
        return health if ready else JSONResponse(health.model_dump(), HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get(
        "/metrics",
        dependencies=bearing,
        responses={200: {"content": {"text/plain": {}}}, 401: ERROR_RESPONSES[401]},
        response_class=Response,
        summary="Counts for Prometheus",
        tags=["operation"],
    )
    async def metrics() -> Response:
        return Response(counts.render(), media_type="text/plain; version=0.0.4")

    return app


async def _cancel_on_disconnect(request: Request, coroutine: Coroutine[Any, Any, T]) -> T:
    """What comes of work, which is given up when the client leaves.

    Raises:
        ClientDisconnect: it left.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    doing, leaving = asyncio.ensure_future(coroutine), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()


def _too_many_requests(reason: str) -> HTTPException:
    return HTTPException(HTTPStatus.TOO_MANY_REQUESTS, f"{reason}: come back", {"Retry-After": "1"})
