"""What somebody who asked holds in hand: a result to come, progress, and the way to cancel."""

import traceback
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Handle(Generic[Result]):
    """One request; safe to use from any thread."""

    def __init__(self) -> None:
        self.future: Future[Result] = Future()
        """For `asyncio.wrap_future` and callbacks. It counts as pending until it is done."""
        self.progress = 0.0
        """From 0 to 1: the mean time of the images, or an answer's share of its longest."""

    @property
    def is_done(self) -> bool:
        """Whether there is a result or an error, or the request was cancelled."""
        return self.future.done()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result, `timeout` seconds at most.

        Raises:
            CancelledError: (of concurrent.futures) the request was cancelled.
            TimeoutError: it is not done yet.
            Exception: whatever went wrong with the request.
        """
        return self.future.result(timeout)

    def cancel(self) -> bool:
        """Cancel it: no further step works on it. False if it is done already."""
        return self.future.cancel()

    def finish(self, result: Result) -> None:
        """Deliver the result, unless the request was cancelled."""
        self.progress = 1.0
        # It may be cancelled by another thread at any time.
        with suppress(InvalidStateError):
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Deliver an error, unless the request is done."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@contextmanager
def failing(*handles: Handle[Any]) -> Iterator[None]:
    """Whatever goes wrong inside is the error of these requests and of no others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (result() raises it, for whoever asked)
        # The handle may be kept for long, and the error would keep what was computed on the way.
        traceback.clear_frames(error.__traceback__)
        for handle in handles:
            handle.fail(error)
