"""Image files of a request: form files, or base64 in JSON, decoded within limits. No path in it is ever opened."""

from __future__ import annotations

import asyncio
import base64
import re
from http import HTTPStatus
from typing import Annotated

from fastapi import HTTPException, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException

from mnist_seq.config import RequestLimits
from mnist_seq.serving.image_decode import DecodedImage, ImageDecodeError, decode_bytes

_MAX_FIELD_BYTES = 1024
"""Most bytes of a form field that is not a file; such fields are ignored."""
_DATA_URL = re.compile(r"\A\s*data:[^,]{0,200};base64,", re.IGNORECASE)
"""Prefix of a data URL, as `toDataURL` and `readAsDataURL` of browsers write it."""
_WHITESPACE = dict.fromkeys(map(ord, " \t\r\n"))
"""Line breaks and indents that MIME and command line tools put into base64; deleted by `str.translate`."""


class ImagesRequest(BaseModel):
    """Images as JSON."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[str], FailFast()] = Field(
        min_length=1,
        description="PNG, JPEG or WebP files, as base64 (line breaks are allowed) or data URLs",
        json_schema_extra={"items": {"type": "string", "format": "byte", "contentMediaType": "image/png"}},
    )


async def read_files(request: Request, limits: RequestLimits) -> list[bytes]:
    """Return the image files of a request, still encoded.

    Raises:
        HTTPException: 415 if the body is neither a form nor JSON; 422 if it has no images, or too many.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        files = await _parse_form(request, limits)
    elif content_type == "application/json":
        files = await asyncio.to_thread(_parse_json, await request.body(), limits)
    else:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"content type {content_type[:60] or 'missing'}: send multipart/form-data with files, or application/json",
        )
    _check_count(len(files), limits)
    return files


def decode_upload(data: bytes, index: int, limits: RequestLimits) -> DecodedImage:
    """Decode an image file of a request.

    Args:
        index: of the file in the request, for the error message.

    Raises:
        HTTPException: 413 for too many pixels, before decoding; 415 for another format; 422 for a damaged file or
            more than one frame.
    """
    try:
        return decode_bytes(data, limits.pixels)
    except ImageDecodeError as error:
        raise HTTPException(error.status, f"images[{index}] {error}") from error


def _check_count(num_files: int, limits: RequestLimits) -> None:
    if not 1 <= num_files <= limits.files:
        raise _unprocessable(f"{num_files} images: send 1 to {limits.files} in a request")


async def _parse_form(request: Request, limits: RequestLimits) -> list[bytes]:
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8").lower()
    if charset not in (b"utf-8", b"us-ascii"):  # Starlette decodes with it, and some codecs take minutes
        raise _unprocessable("invalid form: its charset is not utf-8")
    try:
        async with request.form(
            max_files=limits.files, max_fields=limits.files, max_part_size=_MAX_FIELD_BYTES
        ) as form:
            return [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]
    except StarletteHTTPException as error:
        if error.status_code != HTTPStatus.BAD_REQUEST:
            raise
        raise _unprocessable(f"invalid form: {error.detail}") from error


def _parse_json(body: bytes, limits: RequestLimits) -> list[bytes]:
    try:
        encoded = ImagesRequest.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        location = " ".join(".".join(map(str, first["loc"])).split())[:60] or "body"
        raise _unprocessable(f'{location}: {first["msg"]}; send {{"images": ["<base64>", ...]}}') from error
    _check_count(len(encoded), limits)
    files = []
    for index, text in enumerate(encoded):
        try:
            files.append(base64.b64decode(_DATA_URL.sub("", text).translate(_WHITESPACE), validate=True))
        except ValueError as error:
            raise _unprocessable(f"images[{index}] is not base64") from error
    return files


def _unprocessable(reason: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, reason)
