"""The HTTP API of a model: POST /read, GET /healthz, GET /metrics, and /docs; and the demo page."""

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
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from mnist_seq import __version__
from mnist_seq.config import ServeConfig
from mnist_seq.inference.onnx_reader import OnnxReader
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Box
from mnist_seq.serving import uploads
from mnist_seq.serving.engine import take_over
from mnist_seq.serving.metrics import ServiceMetrics
from mnist_seq.serving.middleware import RequestMiddleware
from mnist_seq.serving.page_routes import add_page
from mnist_seq.serving.pipeline import InferencePipeline, QueueFull

T = TypeVar("T")


class ReadingResponse(BaseModel):
    """The digits of an image, or of one of its rows."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    digits: list[int] = Field(examples=[[3, 7, 1, 8]])
    """digits in reading order; empty if the image has no ink"""
    confidence: float = Field(examples=[0.97])
    """probability that the whole sequence is right, its end included"""
    per_digit: list[float] = Field(examples=[[0.99, 0.99, 1.0, 0.99]])
    """probability of each digit, given the previous ones"""
    blank: bool = False
    """no ink was found, so no digits were read"""
    cells: list[int | None] | None = Field(None, examples=[None])
    """digit of each cell in raster order, if the model classifies cells"""
    box: Box | None = Field(None, examples=[[12.5, 30.0, 268.5, 62.0]])
    """x0 y0 x1 y1 of the part of the image that was read, pixels"""
    warning: str = ""
    """why the digits cannot be right, whatever the confidence: more are visible than the model reads"""
    rows: list[ReadingResponse] = []
    """the reading of each row from top to bottom, if the image has several"""


class ReadResponse(BaseModel):
    """The readings of the images of a request, in the same order."""

    model: str = Field(examples=["grid"])
    readings: list[ReadingResponse]


class HealthResponse(BaseModel):
    """Whether the service is ready, and which model it serves."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    model: str = Field(examples=["grid"])
    commit: str | None
    """git commit of the code that trained the model"""
    version: str = Field(examples=["0.1.0"])
    self_test: str
    """scores on built-in scenes, compared with those at export"""
    engine: str = Field(examples=["torch"])
    """what reads: torch, or onnx for ONNX Runtime"""
    canvas: list[int] = Field(examples=[[56, 56]])
    """height and width of the model's input, pixels"""
    max_digits: int = Field(examples=[4])


class ErrorResponse(BaseModel):
    """Why a request was refused."""

    detail: str


BEARER_AUTH = HTTPBearer(auto_error=False, description="the token that the service was started with")
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "Missing or wrong token"},
    408: {"model": ErrorResponse, "description": "The body did not arrive in time"},
    413: {"model": ErrorResponse, "description": "Too many bytes or pixels"},
    415: {"model": ErrorResponse, "description": "Neither a form nor JSON, or a file that is not PNG, JPEG or WebP"},
    422: {"model": ErrorResponse, "description": "No images, too many images, or a damaged one"},
    429: {"model": ErrorResponse, "description": "Too busy: retry after Retry-After seconds"},
}


def _example_image() -> str:
    """A seven as a PNG file in base64, for the documentation."""
    image, file = Image.new("L", (28, 28)), io.BytesIO()
    ImageDraw.Draw(image).line([(7, 6), (20, 6), (12, 23)], fill=255, width=3, joint="curve")
    image.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"files": _FILES}, "required": ["files"]},
            "encoding": {"files": {"contentType": "image/png, image/jpeg, image/webp"}},
        },
        "application/json": {
            "schema": uploads.ImagesRequest.model_json_schema(),
            "examples": {"a seven": {"value": {"images": [_example_image()]}}},
        },
    },
}


def create_app(reader: Reader, config: ServeConfig, self_test: str = "not checked") -> FastAPI:
    """Build the service as an ASGI application.

    Args:
        self_test: result of the self-test, for /healthz.
    """
    name = str(reader.card.get("name", Path(config.run).name))
    limits, service_metrics = config.limits, ServiceMetrics()
    decode = partial(uploads.decode_upload, limits=limits)
    pipeline = InferencePipeline(
        reader,
        decode,
        service_metrics,
        max_batch_size=config.max_batch_size,
        max_in_flight=limits.queue_size,
        num_threads=config.threads,
    )
    service_metrics.track_in_flight(lambda: pipeline.num_in_flight)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with pipeline:
            taking_over = asyncio.create_task(take_over(pipeline, config))
            yield
            taking_over.cancel()

    app = FastAPIOffline(
        title=f"mnist_seq: {name}",
        summary="Reads sequences of handwritten digits in images.",
        version=__version__,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.add_middleware(RequestMiddleware, limits=limits, metrics=service_metrics)

    def check_token(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER_AUTH)]) -> None:
        token = credentials.credentials if credentials else ""
        if not hmac.compare_digest(token.encode(), str(config.token).encode()):
            reason = "missing or wrong token: send Authorization: Bearer ..."
            raise HTTPException(HTTPStatus.UNAUTHORIZED, reason, {"WWW-Authenticate": "Bearer"})

    authentication = [Depends(check_token)] if config.token else []

    @app.post(
        "/read",
        dependencies=authentication,
        responses=ERROR_RESPONSES,
        openapi_extra={"requestBody": _REQUEST_BODY},
        summary="Read images",
        tags=["reader"],
    )
    async def read(request: Request) -> ReadResponse:
        """Read one or several PNG, JPEG or WebP files of any size, sent as form files or as base64 in JSON.

        The writing is found on any paper, in any light and polarity; several rows are read one by one, if the
        model reads rows.
        """
        files = await uploads.read_files(request, limits)
        request.state.num_images = len(files)
        try:
            async with asyncio.timeout(limits.timeout):
                readings = await _cancel_on_disconnect(request, pipeline.read(files))
        except QueueFull as error:
            raise _too_many_requests(f"{pipeline.num_in_flight} images in flight") from error
        except TimeoutError as error:
            raise _too_many_requests(f"not read within {limits.timeout:g} s") from error
        responses = [ReadingResponse.model_validate(reading, from_attributes=True) for reading in readings]
        return ReadResponse(model=name, readings=responses)

    @app.get(
        "/healthz",
        responses={503: {"model": HealthResponse, "description": "Not ready"}},
        summary="Readiness",
        tags=["operation"],
    )
    async def healthz() -> Any:
        spec, ready = reader.model.spec, pipeline.ready
        health = HealthResponse(
            ready=ready,
            model=name,
            commit=reader.card.get("revision"),
            version=__version__,
            self_test=self_test,
            engine="onnx" if isinstance(pipeline.reader, OnnxReader) else "torch",
            canvas=[spec.height, spec.width],
            max_digits=spec.max_length,
        )
        return health if ready else JSONResponse(health.model_dump(), HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get(
        "/metrics",
        dependencies=authentication,
        responses={200: {"content": {"text/plain": {}}}, 401: ERROR_RESPONSES[401]},
        response_class=Response,
        summary="Prometheus metrics",
        tags=["operation"],
    )
    async def metrics() -> Response:
        return Response(service_metrics.render(), media_type="text/plain; version=0.0.4")

    add_page(app, reader, config, name, authentication)
    return app


async def _cancel_on_disconnect(request: Request, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine; cancel it if the client disconnects.

    Raises:
        ClientDisconnect: the client disconnected first.
    """

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, disconnect = asyncio.ensure_future(coroutine), asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait((work, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        disconnect.cancel()


def _too_many_requests(reason: str) -> HTTPException:
    return HTTPException(HTTPStatus.TOO_MANY_REQUESTS, f"{reason}: retry later", {"Retry-After": "1"})
