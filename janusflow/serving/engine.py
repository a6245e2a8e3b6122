"""The scheduler as a web server needs it: waiting without blocking, and letting go.

Handles of the scheduler are futures of another thread. Here they are awaited until they are done,
the client goes away, or time is up; what nobody waits for any more is cancelled, so that its rows
leave the next forward.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from fastapi import Request

from janusflow.config.errors import BusyError
from janusflow.config.serving import ServingConfig
from janusflow.inference.batching.requests import Handle
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.client_images import ClientImages
from janusflow.serving.errors import ApiError, closing
from janusflow.serving.metrics import Metrics
from janusflow.tuning.active import is_merged

Value = TypeVar("Value")
Kind: TypeAlias = Literal["chat", "images"]
KEEP_ALIVE_SECONDS = 10.0
"""A stream that is silent for so long says that it is alive: proxies cut silent ones."""
MEMORY = 0.9
"""Share of the past in the mean time of a request."""


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Engine:
    """A model, its scheduler, and what is open.

    Args:
        jf: nothing else may use it while the scheduler runs.
        config: limits.
    """

    def __init__(self, jf: JanusFlow, config: ServingConfig) -> None:
        self.jf = jf
        self.config = config
        self.scheduler = StepScheduler(
            jf,
            max_images=config.max_images,
            max_questions=config.max_questions,
            max_waiting=config.max_waiting,
            tokens_per_step=config.tokens_per_step,
            reuse_bytes=config.reuse_bytes,
        )
        name = Path(jf.name).name if Path(jf.name).is_dir() else jf.name
        self.model_name = config.served_model_name or name
        """What clients call the model; where its folder is, is nobody's business."""
        weights = {} if is_merged(jf.model) else jf.adapters
        self.models: dict[str, dict[str, float] | None] = {
            self.model_name: {} if weights else None,
            **{
                f"{self.model_name}:{each}": {each: config.adapter_weights.get(each, on or 1.0)}
                for each, on in weights.items()
            },
        }
        """What clients may call a model, and the adapters that are on for it: none for the base."""
        self.images = ClientImages(config)
        self.metrics = Metrics(self.scheduler, self.model_name)
        self.is_draining = False
        """Whether new requests are refused, since the server is to end."""
        self.open_work: set[Work] = set()
        self._mean_seconds = 1.0
        self._num_running: dict[Kind, int] = {
            "images": config.max_images,
            "chat": config.max_questions,
        }

    @property
    def retry_seconds(self) -> int:
        """When a full queue has probably moved on."""
        return max(1, math.ceil(self._mean_seconds))

    def cancel_all(self) -> None:
        """Let go of everything: those who wait are told that the server ends."""
        self.is_draining = True
        for work in list(self.open_work):
            work.cancel()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Work inside the block."""
        try:
            with self.scheduler.running():
                yield
        finally:
            self.images.close()

    @contextmanager
    def work(self, request: Request, kind: Kind) -> Iterator["Work"]:
        """What one HTTP request asks for; all of it is cancelled at the end of the block.

        Args:
            request: of the client.
            kind: drawings do not keep questions out, nor the other way round.

        Raises:
            ApiError: the server is about to end.
            BusyError: as many requests of this kind are open as may run and wait.
        """
        if self.is_draining:
            raise closing()
        # The scheduler would refuse it, too, but only after its images were opened.
        num_open = sum(work.kind == kind for work in self.open_work)
        if num_open >= self.config.max_waiting + self._num_running[kind]:
            raise BusyError(f"{num_open} requests are open: try again later.")
        work = Work(self, request, kind)
        self.open_work.add(work)
        try:
            yield work
        finally:
            self.open_work.discard(work)
            work.cancel()
            self._mean_seconds = MEMORY * self._mean_seconds + (1 - MEMORY) * work.seconds


class Work:
    """The handles of one HTTP request, and what they tell on the way."""

    def __init__(self, engine: Engine, request: Request, kind: Kind) -> None:
        self.kind = kind
        self.handles: list[Any] = []
        """Of the scheduler, of one kind."""
        self.metrics = engine.metrics
        self.first_seconds: float | None = None
        """From the request to what was told first: a piece of text, or an image."""
        self._engine = engine
        self._request = request
        self._start = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Any] = asyncio.Queue()

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self._start

    def finish(self, told: Mapping[str, Any], reasons: Sequence[str]) -> None:
        """All was answered.

        Args:
            told: goes into the log.
            reasons: of every choice why it ended, for the metrics.
        """
        self._request.state.log.update(told)
        self.metrics.finished(self.kind, self.seconds, reasons)

    def cancel(self) -> None:
        """No further step works on any of it."""
        for handle in self.handles:
            handle.cancel()

    def tell(self, item: object) -> None:
        """Put an item among what `items` gives; from any thread."""
        if self.first_seconds is None:
            self.first_seconds = self.seconds
        self._put(item)

    def _put(self, item: object) -> None:
        self._loop.call_soon_threadsafe(self._told.put_nowait, item)

    async def results(self) -> list[Any]:
        """Of all handles, in order.

        Raises:
            ApiError: time is up, or the server ends.
            ClientGoneError: the client has closed its connection.
        """
        return await self.attend(asyncio.gather(*map(asyncio.wrap_future, self.handles)))

    async def result(self, handle: Handle[Value]) -> Value:
        """Of something that is needed before the rest; it is none of `handles` afterwards.

        Raises:
            ApiError, ClientGoneError: as `results`.
        """
        self.handles.append(handle)
        try:
            return await self.attend(asyncio.wrap_future(handle))
        finally:
            handle.cancel()
            self.handles.remove(handle)

    async def items(self) -> AsyncIterator[Any]:
        """What is told, as it comes, and each handle once it is done; None after a long silence.

        Raises what went wrong with a handle, and ApiError when time is up.
        """
        for handle in self.handles:
            handle.add_done_callback(self._put)
        num_open = len(self.handles)
        while num_open:
            left = self._engine.config.request_seconds - self.seconds
            try:
                item = await asyncio.wait_for(self._told.get(), min(KEEP_ALIVE_SECONDS, left))
            except TimeoutError:
                if left < KEEP_ALIVE_SECONDS:
                    raise self._late() from None
                yield None
                continue
            if isinstance(item, Handle):
                num_open -= 1
                self._check(item.result)
            yield item

    async def attend(self, result: Awaitable[Value]) -> Value:
        """A result, while the client is there and time is left."""
        waiting = asyncio.ensure_future(result)
        leaving = asyncio.create_task(_left(self._request))
        try:
            await asyncio.wait(
                (waiting, leaving),
                timeout=max(0.0, self._engine.config.request_seconds - self.seconds),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if waiting.done():
                return self._check(waiting.result)
            raise ClientGoneError if leaving.done() else self._late()
        finally:
            # What is cancelled here is looked at: asyncio would log it as forgotten.
            waiting.add_done_callback(lambda each: each.cancelled() or each.exception())
            waiting.cancel()
            leaving.cancel()

    def _check(self, result: Callable[[], Value]) -> Value:
        """A result; where it was cancelled, it was because the server ends."""
        try:
            return result()
        except (CancelledError, asyncio.CancelledError):
            raise closing() from None

    def _late(self) -> ApiError:
        return ApiError(
            504,
            f"Not finished within {self._engine.config.request_seconds:g} seconds: ask for less.",
            code="timeout",
            headers={"x-should-retry": "false"},  # the openai client would ask again
        )


async def _left(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
