"""What a request brings: files of a form, or base64 in JSON, decoded within limits. No path in it is ever opened."""

from __future__ import annotations

import asyncio
import base64
import re
from http import HTTPStatus
from typing import Annotated

from fastapi import HTTPException, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as Raised

from mnist_seq.config import RequestLimits
from mnist_seq.serving.image_decode import (
    CorruptImage,
    ImageDecodeError,
    ImageTooLarge,
    UnsupportedFormat,
    decode_bytes,
)

_MAX_FIELD_BYTES = 1024
"""Bytes of a form's field that is no file; none is used."""
_DATA_URL = re.compile(r"\A\s*data:[^,]{0,200};base64,", re.IGNORECASE)
"""What a data URL begins with, as `toDataURL` and `readAsDataURL` of browsers write it."""
_WHITESPACE = dict.fromkeys(map(ord, " \t\r\n"))
"""What MIME and command line tools break base64 into lines with."""
STATUS_CODES: dict[type[ImageDecodeError], HTTPStatus] = {
    UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    CorruptImage: HTTPStatus.UNPROCESSABLE_ENTITY,
}


class ImagesRequest(BaseModel):
    """Pictures as JSON."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[str], FailFast()] = Field(
        min_length=1,
        description="PNG, JPEG or WebP files in base64, which may be broken into lines, or as data URLs",
        json_schema_extra={"items": {"type": "string", "format": "byte", "contentMediaType": "image/png"}},
    )


async def read_files(request: Request, limits: RequestLimits) -> list[bytes]:
    """The pictures of a request, still encoded.

    Raises:
        HTTPException: 415 for a body that is neither a form nor JSON, 422 for one without pictures or with too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _parse_form(request, limits)
    elif kind == "application/json":
        found = await asyncio.to_thread(_parse_json, await request.body(), limits)
    else:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"content type {kind[:60] or 'missing'}: send multipart/form-data with files, or application/json",
        )
    _require_count(len(found), limits)
    return found


def decode_upload(data: bytes, index: int, limits: RequestLimits) -> Image.Image:
    """A picture.

    Args:
        place: which of the request's, for the reason.

    Raises:
        HTTPException: 413 for too many pixels, before any is decoded; 415 for another format; 422 for what is
            damaged or moves.
    """
    try:
        return decode_bytes(data, limits.pixels)
    except ImageDecodeError as problem:
        raise HTTPException(STATUS_CODES[type(problem)], f"images[{index}] {problem}") from problem


def _require_count(count: int, limits: RequestLimits) -> None:
    if not 1 <= count <= limits.files:
        reason = f"{count} pictures: send 1 to {limits.files} files in a request"
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, reason)


async def _parse_form(request: Request, limits: RequestLimits) -> list[bytes]:
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8").lower()
    if charset not in (b"utf-8", b"us-ascii"):  # Starlette decodes by it, and some codecs take minutes
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "not a form that can be read: its charset is not utf-8")
    try:
        async with request.form(
            max_files=limits.files + 1, max_fields=limits.files, max_part_size=_MAX_FIELD_BYTES
        ) as form:
            return [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]
    except Raised as problem:
        if problem.status_code != HTTPStatus.BAD_REQUEST:
            raise
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"not a form that can be read: {problem.detail}"
        ) from problem


def _parse_json(body: bytes, limits: RequestLimits) -> list[bytes]:
    try:
        encoded = ImagesRequest.model_validate_json(body).images
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        where = " ".join(".".join(map(str, first["loc"])).split())[:60] or "body"
        reason = f'{where}: {first["msg"]}; send {{"images": ["<base64>", ...]}}'
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from problem
    _require_count(len(encoded), limits)
    found = []
    for place, text in enumerate(encoded):
        try:
            found.append(base64.b64decode(_DATA_URL.sub("", text).translate(_WHITESPACE), validate=True))
        except ValueError as problem:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"images[{place}] is not base64") from problem
    return found
