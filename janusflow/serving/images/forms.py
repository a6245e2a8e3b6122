"""Bodies that hold images: JSON with addresses of images, or forms with files."""

import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from janusflow.serving.errors import ApiError
from janusflow.serving.images.types import ImageReference, StartBody, UpscaleBody

Body = TypeVar("Body", bound=StartBody | UpscaleBody)
FORM = "multipart/form-data"
FILES = ("image", "mask")
"""Fields of a form that are images; `image[]` is the first of these, too."""


@dataclass(frozen=True, kw_only=True)
class WithImages(Generic[Body]):
    """A body, and its images as they were sent."""

    body: Body
    images: list[str | bytes]
    mask: str | bytes | None = None

    @property
    def image(self) -> str | bytes:
        """The one image.

        Raises:
            ApiError: there is none, or several.
        """
        if len(self.images) != 1:
            raise ApiError(
                400,
                f"image: got {len(self.images)} images, wanted 1 to start from.",
                param="image",
                code="wrong_number_of_images",
            )
        return self.images[0]


async def read_body(request: Request, kind: type[Body]) -> WithImages[Body]:
    """Read a body of either kind.

    Raises:
        RequestValidationError: a field is missing, unknown or wrong.
        ApiError: an image is an id of a file, or the form is broken.
    """
    if request.headers.get("content-type", "").lower().startswith(FORM):
        return await _read_form(request, kind)
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ApiError(
            400, f"The body is neither JSON nor a form ({error}).", code="json_invalid"
        ) from None
    body = _checked(kind, given)
    mask = body.mask if isinstance(body, StartBody) else None
    return WithImages(
        body=body,
        images=[_address(each, "images") for each in body.images],
        mask=None if mask is None else _address(mask, "mask"),
    )


def accepts_both(kind: type[Body]) -> dict[str, Any]:
    """The OpenAPI description of such a body."""
    json_schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    json_schema.pop("$defs", None)
    file = {"type": "string", "format": "binary"}
    fields = {name: each for name, each in json_schema["properties"].items() if name != "images"}
    fields |= {name: file for name in FILES if name == "image" or name in fields}
    form_schema = json_schema | {"properties": fields}
    content = {"application/json": {"schema": json_schema}, FORM: {"schema": form_schema}}
    return {"requestBody": {"required": True, "content": content}}


async def _read_form(request: Request, kind: type[Body]) -> WithImages[Body]:
    fields, files = dict[str, str](), {name: list[str | bytes]() for name in FILES}
    async with request.form() as form:
        for name, value in form.multi_items():
            name = name.removesuffix("[]")
            if name in FILES:
                files[name].append(await value.read() if isinstance(value, UploadFile) else value)
            elif isinstance(value, UploadFile):
                raise ApiError(400, f"{name}: got a file, wanted a text.", param=name)
            elif value:  # forms send what was not filled in as an empty text
                fields[name] = value
    return WithImages(
        body=_checked(kind, fields),
        images=files["image"],
        mask=files["mask"][0] if files["mask"] else None,
    )


def _checked(kind: type[Body], given: Any) -> Body:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = [each | {"loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from None


def _address(image: ImageReference, name: str) -> str:
    if image.image_url is None:
        raise ApiError(
            400,
            f"{name}: give image_url, a data: URI; this server keeps no files for a file_id.",
            param=name,
            code="unsupported_parameter",
        )
    return image.image_url
