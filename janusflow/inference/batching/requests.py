"""What somebody who asked holds in hand: a result to come, progress, and the way to cancel."""

import traceback
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


class Handle(Future[Result]):
    """One request: the future of its result, safe to use from any thread.

    It counts as pending until it is done, so that it can be cancelled all the while: no further
    step works on it then.
    """

    progress = 0.0
    """From 0 to 1: the mean time of the images, or an answer's share of its longest."""


@contextmanager
def failing(*handles: Handle[Any]) -> Iterator[None]:
    """Whatever goes wrong inside is the error of these requests and of no others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (result() raises it, for whoever asked)
        # The handle may be kept for long, and the error would keep what was computed on the way.
        traceback.clear_frames(error.__traceback__)
        for handle in handles:
            # It may be cancelled by another thread at any time.
            with suppress(InvalidStateError):
                handle.set_exception(error)
