"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}} with its status.

A mistake of the caller is explained; a bug is logged with its traceback and named by the request's
id alone.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from janusflow.config.errors import BusyError, ClosedError, JanusFlowError, is_out_of_memory

log = logging.getLogger(__name__)

INVALID = "invalid_request_error"
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""Type of an error by its status; other mistakes of the caller are INVALID."""
NAMED = re.compile(r"(\w+)=")
"""How our settings' messages begin: the setting that is wrong."""
OUR_NAMES = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
MAX_SHOWN = 500
"""Characters of a message, which may quote what a client sent."""


class ApiError(HTTPException):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: what was got, what was wanted, what to do.
        param: name of the field that is wrong.
        code: a word for programs.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param, self.code = param, code

    @property
    def body(self) -> dict[str, Any]:
        """The error as clients read it."""
        kind = TYPES.get(self.status_code, INVALID if self.status_code < 500 else "server_error")
        told = {"message": self.detail, "type": kind, "param": self.param, "code": self.code}
        return {"error": told}


def as_api_error(error: BaseException, request: Request) -> ApiError:
    """What a client is told of an error; a bug is logged with the request's id."""
    message = " ".join(str(error).split())[:MAX_SHOWN]
    match error:
        case ApiError():
            return error
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _invalid(error.errors())
        case BusyError():
            again = {"Retry-After": str(request.app.state.engine.retry_seconds)}
            return ApiError(429, message, code="server_busy", headers=again)
        case ClosedError():
            return closing()
        case JanusFlowError():
            found = NAMED.match(message)
            param = OUR_NAMES.get(found[1], found[1]) if found else None
            return ApiError(400, message, param=param, code=_code(error))
    request_id = request.state.request_id
    log.error("request %s failed", request_id, exc_info=error)
    if is_out_of_memory(error):
        return ApiError(503, "The server is out of memory: ask for less.", code="out_of_memory")
    return ApiError(500, f"Internal error of the server, request {request_id}: see its log.")


def closing() -> ApiError:
    """The server takes no more requests."""
    return ApiError(503, "The server is shutting down: try another one.", code="shutting_down")


def _code(error: JanusFlowError) -> str:
    """PromptError -> prompt_error."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def _invalid(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first thing that is wrong with a body, by the name of its field."""
    first = errors[0]
    names = [
        str(part) for part in first["loc"][1:] if not str(part).startswith(("function-", "str"))
    ]
    name = ".".join(names)
    got = (
        f", got {first['input']!r:.80}" if first["type"] not in ("missing", "json_invalid") else ""
    )
    told = first.get("ctx", {}).get("error", first["msg"])
    return ApiError(400, f"{name}: {told}{got}"[:MAX_SHOWN], param=name or None, code=first["type"])


def error_response(error: ApiError) -> Response:
    """ASCII, since what a client sent may hold what UTF-8 cannot."""
    return Response(
        json.dumps(error.body),
        status_code=error.status_code,
        headers=error.headers,
        media_type="application/json",
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every known kind of error in OpenAI's shape."""

    async def answer(request: Request, error: Exception) -> Response:
        told = as_api_error(error, request)
        request.state.log["error"] = told.detail
        return error_response(told)

    for kind in (HTTPException, RequestValidationError, JanusFlowError):
        app.add_exception_handler(kind, answer)
