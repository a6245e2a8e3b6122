"""Server-sent events: what happens while the scheduler works, as it comes.

The first event is waited for before the answer begins, so that what is refused has a status of its
own; what goes wrong later is an event `error`, the last one.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from janusflow.serving.engine import ClientGoneError, Work
from janusflow.serving.errors import as_api_error

KEEP_ALIVE = ": keep-alive\n\n"
"""A comment: clients take no notice."""
DONE = "data: [DONE]\n\n"


def event(data: Mapping[str, Any], *, name: str | None = None) -> str:
    """One event as it is sent, ASCII only."""
    line = f"data: {json.dumps(data)}\n\n"
    return line if name is None else f"event: {name}\n{line}"


class EventStream(StreamingResponse):
    """An answer of events that lets go of everything at its end, also if the client goes."""

    def __init__(self, events: AsyncIterator[str], stack: ExitStack) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        with self._stack:
            await super().__call__(scope, receive, send)


async def stream(
    request: Request, work: Work, events: AsyncIterator[str], stack: ExitStack
) -> EventStream:
    """Begin to answer with events.

    Args:
        request: whose answer it is.
        work: waits for the first event.
        events: from `event`, KEEP_ALIVE or DONE.
        stack: closed when the answer has ended.

    Raises what went wrong before the first event.
    """
    first = await work.attend(anext(events))
    return EventStream(_all(request, first, events), stack)


async def _all(request: Request, first: str, events: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    try:
        async for each in events:
            yield each
    except ClientGoneError:
        raise
    except Exception as error:  # noqa: BLE001 (the client is told, a bug is logged)
        told = as_api_error(error, request)
        request.state.log["error"] = told.detail
        yield event(told.body, name="error")
