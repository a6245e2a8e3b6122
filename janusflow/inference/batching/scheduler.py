"""Many requests at once: images at different steps share one forward, and so do answers.

A request is taken at the next step, not when others are done, and gets what it would get alone.
`step` runs in one thread, which alone touches the model; everything else may be called from any.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
from PIL import Image

from janusflow.config.errors import BusyError, ClosedError, ConfigError
from janusflow.config.upscaling import NONE
from janusflow.inference.answering.answers import QuestionRequest
from janusflow.inference.answering.chat import Message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.image_batcher import DrawingRequest, ImageBatcher
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.batching.text_batcher import TextBatcher
from janusflow.inference.drawing.batches import DEFAULT_BATCH_SIZE, GenerationRequest, OnStep
from janusflow.inference.drawing.sampling import DrawingSettings, InitImage
from janusflow.inference.drawing.seeds import chosen
from janusflow.inference.pipeline import JanusFlow

Request = TypeVar("Request", DrawingRequest, QuestionRequest)
IDLE_SECONDS = 0.1
"""How often a thread without work looks whether it is to stop."""
AGAIN = "make another StepScheduler."


class StepScheduler:
    """Draws and answers for many; make steps with `step`, `run_until_idle` or `running`.

    Args:
        jf: nothing else may use it meanwhile.
        max_images: images in one forward; guidance doubles their rows.
        max_questions: answers that grow side by side.
        max_waiting: requests that wait before more are refused; None refuses none.
        tokens_per_step: tokens of every answer between two evaluations of the images.
    """

    def __init__(
        self,
        jf: JanusFlow,
        *,
        max_images: int = DEFAULT_BATCH_SIZE,
        max_questions: int = DEFAULT_BATCH_SIZE,
        max_waiting: int | None = None,
        tokens_per_step: int = 1,
    ) -> None:
        limits = {
            "max_images": max_images,
            "max_questions": max_questions,
            "max_waiting": max_waiting,
            "tokens_per_step": tokens_per_step,
        }
        for name, value in limits.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: at least 1 is needed.")
        self.max_waiting = max_waiting
        self._drawing = ImageBatcher(jf, max_images=max_images)
        self._answering = TextBatcher(
            jf, max_questions=max_questions, tokens_per_step=tokens_per_step
        )
        self._lock = threading.Lock()
        self._arrived: list[DrawingRequest | QuestionRequest] = []
        self._has_arrived = threading.Event()
        self._open: set[Handle[Any]] = set()
        """Of all requests that are not done, wherever they are."""
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._error: BaseException | None = None
        """What ended the thread that made steps."""

    @property
    def num_waiting(self) -> int:
        """Requests that have not begun, or only in part."""
        return len(self._arrived) + len(self._drawing.waiting) + len(self._answering.waiting)

    def submit_drawing(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | None = None,
        num_images: int = 1,
        seed: int | Sequence[int] | None = None,
        settings: DrawingSettings | None = None,
        init_image: InitImage | None = None,
        on_step: OnStep | None = None,
    ) -> Handle[list[Image.Image]]:
        """Ask for images; the arguments are those of `JanusFlow.generate`.

        Args:
            prompt: one or several.
            negative_prompt: what the unconditional branch reads, instead of nothing.
            num_images: per prompt.
            seed: image i is drawn from noise seed + i, or from the i-th; None is random.
            settings: steps, guidance, solver and so on; None is the paper's.
            init_image: from `prepare_init_image`.
            on_step: called by the stepping thread after every step of every image; be quick.

        Raises:
            BusyError: `max_waiting` requests wait already.
            ClosedError: the scheduler has ended.
            ConfigError: images are to be made larger.
        """
        settings = settings or DrawingSettings()
        if settings.upscale != NONE:
            raise ConfigError(
                f"upscale={settings.upscale}: a scheduler would let all others wait for it. Use "
                f"upscale={NONE} and make the image larger afterwards, or JanusFlow.generate."
            )
        asked = GenerationRequest(
            prompts=(prompt,) if isinstance(prompt, str) else tuple(prompt),
            negative_prompt=negative_prompt,
            num_images=num_images,
            seed=seed,
            settings=settings,
            init_image=init_image,
        )
        return self._take(DrawingRequest(request=asked, on_step=on_step))

    def submit_question(
        self,
        messages: Sequence[Message],
        *,
        settings: AnsweringSettings | None = None,
        seed: int | None = None,
        allow_paths: bool = True,
        on_piece: Callable[[str], None] | None = None,
    ) -> Handle[str]:
        """Ask for the next turn of a conversation; the arguments are those of `JanusFlow.stream`.

        Args:
            messages: any number of turns and images, the last one the user's.
            settings: how tokens are chosen, and how many.
            seed: of the draws; None is random.
            allow_paths: False refuses file paths in messages, for those that come over a network.
            on_piece: called by the stepping thread with the text as it comes; be quick.

        Raises:
            BusyError: `max_waiting` requests wait already.
            ClosedError: the scheduler has ended.
        """
        question = QuestionRequest(
            messages=messages,
            settings=settings or AnsweringSettings(),
            seed=chosen(seed),
            allow_paths=allow_paths,
            on_piece=on_piece,
        )
        return self._take(question)

    @torch.no_grad()
    def step(self) -> bool:
        """Evaluate all running images once and go on with all answers; False when idle.

        What goes wrong is raised by the `result` of the requests it concerns, never here.
        """
        with self._lock:
            arrived, self._arrived = self._arrived, []
            for request in arrived:
                if isinstance(request, DrawingRequest):
                    self._drawing.waiting.append(request)
                else:
                    self._answering.waiting.append(request)
            self._has_arrived.clear()
        for batcher in (self._drawing, self._answering):
            # They know which request an error concerns; what they overlook concerns all of theirs.
            with failing(*batcher.handles):
                batcher.step()
        return bool(self._open)

    def run_until_idle(self) -> None:
        """Step until nothing is left to do."""
        while self.step():
            pass

    @contextmanager
    def running(self) -> Iterator[None]:
        """Step in a thread of its own inside the block, with whose end the scheduler ends.

        What is left then is cancelled, and what is submitted later is refused with a ClosedError.

        Raises:
            ClosedError: it was called before.
        """
        if self._thread is not None:
            raise ClosedError(f"running() was called before (thread {self._thread.name}): {AGAIN}")
        self._thread = threading.Thread(target=self._run, name="janusflow steps", daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            self._close()
            self._thread.join()
            for handle in list(self._open):
                handle.cancel()
            self.step()  # lets go of what was cancelled

    def _run(self) -> None:
        try:
            while not self._is_closed:
                if not self.step():
                    self._has_arrived.wait(IDLE_SECONDS)
        except BaseException as error:  # noqa: BLE001 (in this thread nobody else would hear of it)
            self._close(error)
            for handle in list(self._open):
                with suppress(InvalidStateError):
                    handle.set_exception(error)

    def _close(self, error: BaseException | None = None) -> None:
        """Take no more requests."""
        with self._lock:
            self._is_closed, self._error = True, self._error or error
            self._has_arrived.set()

    def _take(self, request: Request) -> Request:
        with self._lock:
            if self._is_closed:
                reason = "" if self._error is None else f" after {self._error!r:.200}"
                raise ClosedError(f"the scheduler has ended{reason}: {AGAIN}")
            if self.max_waiting is not None and self.num_waiting >= self.max_waiting:
                raise BusyError(
                    f"{self.num_waiting} requests wait, max_waiting={self.max_waiting}: try again "
                    "later."
                )
            self._arrived.append(request)
            self._open.add(request)
            request.add_done_callback(self._open.discard)
            self._has_arrived.set()
        return request
