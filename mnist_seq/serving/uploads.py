"""What a request brings: files of a form, or base64 in JSON, decoded within limits. No path in it is ever opened."""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus

from fastapi import HTTPException, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as Raised

from mnist_seq.config import Limits
from mnist_seq.serving.opening import Damaged, NotPicture, TooLarge, Unfit, opened

STATUS: dict[type[Unfit], HTTPStatus] = {
    NotPicture: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Damaged: HTTPStatus.UNPROCESSABLE_ENTITY,
}


class Images(BaseModel):
    """Pictures as JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(
        min_length=1,
        description="PNG, JPEG or WebP files in base64",
        json_schema_extra={"items": {"type": "string", "format": "byte", "contentMediaType": "image/png"}},
    )


async def files(request: Request, limits: Limits) -> list[bytes]:
    """The pictures of a request, still encoded.

    Raises:
        HTTPException: 415 for a body that is neither a form nor JSON, 422 for one without pictures or with too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _of_form(request, limits)
    elif kind == "application/json":
        found = _of_json(await request.body())
    else:
        raise refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"content type {kind[:60] or 'missing'}: send multipart/form-data with files, or application/json",
        )
    if not 1 <= len(found) <= limits.files:
        raise refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{len(found)} pictures: send 1 to {limits.files} files in a request"
        )
    return found


def decoded(data: bytes, place: int, limits: Limits) -> Image.Image:
    """A picture.

    Args:
        place: which of the request's, for the reason.

    Raises:
        HTTPException: 413 for too many pixels, before any is decoded; 415 for another format; 422 for what is
            damaged or moves.
    """
    try:
        return opened(data, limits.pixels)
    except Unfit as problem:
        raise refusal(STATUS[type(problem)], f"images[{place}] {problem}") from problem


def refusal(status: HTTPStatus, reason: str) -> HTTPException:
    return HTTPException(status, reason)


async def _of_form(request: Request, limits: Limits) -> list[bytes]:
    try:
        async with request.form(max_files=limits.files + 1, max_fields=limits.files) as form:
            return [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]
    except Raised as problem:
        if problem.status_code != HTTPStatus.BAD_REQUEST:
            raise
        raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"not a form that can be read: {problem.detail}") from problem
    except (ValueError, LookupError) as problem:  # a charset of its headers that there is not
        raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "not a form that can be read") from problem


def _of_json(body: bytes) -> list[bytes]:
    try:
        encoded = Images.model_validate_json(body).images
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        reason = f'{where}: {first["msg"]}; send {{"images": ["<base64>", ...]}}'
        raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from problem
    found = []
    for place, text in enumerate(encoded):
        try:
            found.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as problem:
            raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"images[{place}] is not base64") from problem
    return found
