"""One line of JSON for every request, with an id that client and server share.

No prompt, image or key is logged.
"""

import json
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from janusflow.serving.engine import ClientGoneError
from janusflow.serving.errors import as_api_error, error_response

log = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""What an id that a client gives may look like; others get one of ours."""
CLIENT_GONE = 499
"""nginx's status of a request whose client did not wait."""


class RequestLog:
    """The outermost layer: gives requests their id, logs them, and answers bugs.

    A handler adds to its line with `request.state.log`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        given = request.headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        line: dict[str, Any] = {}
        request.state.request_id, request.state.log = request_id, line
        start, status = time.monotonic(), CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientGoneError:
            pass
        except Exception as error:
            if status != CLIENT_GONE:
                raise  # too late for another answer
            await error_response(as_api_error(error, request))(scope, receive, send_with_id)
        finally:
            told = {"request_id": request_id, "method": scope["method"], "path": scope["path"]}
            told |= {"status": status, "seconds": round(time.monotonic() - start, 4), **line}
            log.info("request", extra={"fields": told})


class JsonFormatter(logging.Formatter):
    """A line of JSON a record: time, level, logger, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        told = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def log_to_stderr() -> None:
    """What this package and uvicorn log goes to stderr, a line of JSON each."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("janusflow", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
