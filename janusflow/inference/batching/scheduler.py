"""Many requests at once: images at different steps share one forward, and so do answers.

A request is taken at the next step, not when others are done, and gets what it would get alone.
`step` runs in one thread, which alone touches the model; everything else may be called from any.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch

from janusflow.config.errors import BusyError, ClosedError, ConfigError
from janusflow.config.upscaling import NONE
from janusflow.inference.answering.answers import QuestionRequest
from janusflow.inference.answering.chat import Message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.adapter_switch import AdapterSwitch, Weights
from janusflow.inference.batching.call_batcher import CallBatcher, CallRequest
from janusflow.inference.batching.counts import BatchInfo, Counts, count
from janusflow.inference.batching.image_batcher import DrawingRequest, ImageBatcher
from janusflow.inference.batching.prompt_reader import PromptReader
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.batching.text_batcher import TextBatcher
from janusflow.inference.drawing.batches import DEFAULT_BATCH_SIZE, GenerationRequest, OnStep
from janusflow.inference.drawing.planning import HOW, plans_first
from janusflow.inference.drawing.sampling import DrawingSettings, InitImage
from janusflow.inference.drawing.seeds import chosen
from janusflow.inference.pipeline import JanusFlow
from janusflow.processing.templates import planning_question
from janusflow.tuning.active import can_plan

Request = TypeVar("Request", DrawingRequest, QuestionRequest, CallRequest)
Result = TypeVar("Result")
KINDS = {DrawingRequest: "drawings", QuestionRequest: "questions", CallRequest: "calls"}
IDLE_SECONDS = 0.1
"""How often a thread without work looks whether it is to stop."""
DEFAULT_REUSE_BYTES = 2**30
AGAIN = "make another StepScheduler."


class StepScheduler:
    """Draws and answers for many; make steps with `step`, `run_until_idle` or `running`.

    Args:
        jf: nothing else may use it meanwhile, nor change its weights.
        max_images: images in one forward; guidance doubles their rows.
        max_questions: answers that grow side by side.
        max_waiting: drawings that wait before more are refused; questions and calls likewise, each
            in their own line. None refuses none.
        tokens_per_step: tokens of every answer between two evaluations of the images.
        reuse_bytes: of what was read, kept on the model's device so that it is not read again
            (prompt_reader.py); 0 keeps nothing. Results are the same to the bit.
    """

    def __init__(
        self,
        jf: JanusFlow,
        *,
        max_images: int = DEFAULT_BATCH_SIZE,
        max_questions: int = DEFAULT_BATCH_SIZE,
        max_waiting: int | None = None,
        tokens_per_step: int = 1,
        reuse_bytes: int = DEFAULT_REUSE_BYTES,
    ) -> None:
        for name, value, least in (
            ("reuse_bytes", reuse_bytes, 0),
            ("max_images", max_images, 1),
            ("max_questions", max_questions, 1),
            ("max_waiting", max_waiting, 1),
            ("tokens_per_step", tokens_per_step, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name}={value}: at least {least} is needed.")
        self.max_waiting = max_waiting
        self.on_batch: Callable[[BatchInfo], None] | None = None
        """Called by the stepping thread after every step; be quick, and raise nothing."""
        self._switch = AdapterSwitch(jf.model)
        self._reader = PromptReader(jf, max_bytes=reuse_bytes, switch=self._switch)
        self._drawing = ImageBatcher(jf, self._reader, max_images=max_images)
        self._answering = TextBatcher(
            jf, self._reader, max_questions=max_questions, tokens_per_step=tokens_per_step
        )
        self._batchers: dict[type, ImageBatcher | TextBatcher | CallBatcher] = {
            DrawingRequest: self._drawing,
            QuestionRequest: self._answering,
            CallRequest: CallBatcher(self._switch),
        }
        self._lock = threading.Lock()
        self._arrived: list[DrawingRequest | QuestionRequest | CallRequest] = []
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
        return sum(map(self._num_waiting, KINDS))

    @property
    def counts(self) -> Counts:
        """What is under way, and what was done so far; from any thread, at no cost to the steps."""
        with self._lock:
            arrived = [each for each in self._arrived if isinstance(each, DrawingRequest)]
            waiting = [*arrived, *self._drawing.waiting]
            waiting_questions = self._num_waiting(QuestionRequest)
        return count(
            self._drawing,
            self._answering,
            waiting_images=sum(each.num_left for each in waiting),
            waiting_questions=waiting_questions,
        )

    def _num_waiting(self, kind: type) -> int:
        arrived = sum(isinstance(each, kind) for each in self._arrived)
        return len(self._batchers[kind].waiting) + arrived

    def submit_drawing(  # noqa: PLR0913 (what people set, each by its name)
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | None = None,
        num_images: int = 1,
        seed: int | Sequence[int] | None = None,
        settings: DrawingSettings | None = None,
        init_image: InitImage | None = None,
        plans: Sequence[str] | None = None,
        adapters: Weights = None,
        on_step: OnStep | None = None,
        on_plan: Callable[[list[str]], None] | None = None,
    ) -> DrawingRequest:
        """Ask for images; the arguments are those of `JanusFlow.generate`.

        Args:
            prompt: one or several.
            negative_prompt: what the unconditional branch reads, instead of nothing.
            num_images: per prompt.
            seed: image i is drawn from noise seed + i, or from the i-th; None is random.
            settings: steps, guidance, solver and so on; None is the paper's.
            init_image: from `prepare_init_image`.
            plans: texts drawn instead of the prompts, one a prompt; no plan is asked for then.
            adapters: weights by name, as of `JanusFlow.set_adapters`; `{}` is the base alone, None
                what was on when the scheduler was made. Requests with the same ones share forwards.
            on_step: called by the stepping thread after every step of every image; be quick.
            on_plan: called by it with the plans that the model made, one an image, candidates
                included, before they are drawn.

        Returns:
            The future of the images, which also has their records.

        Raises:
            BusyError: `max_waiting` drawings wait already.
            ClosedError: the scheduler has ended.
            ConfigError: images are to be made larger, or adapters are unknown or merged.
            PromptError: there are no prompts, or another number of plans.
        """
        settings = settings or DrawingSettings()
        if settings.upscale != NONE:
            raise ConfigError(
                f"upscale={settings.upscale}: a scheduler would let all others wait for it. Use "
                f"upscale={NONE} and make the image larger afterwards, or JanusFlow.generate."
            )
        asked = GenerationRequest(
            prompts=(prompt,) if isinstance(prompt, str) else tuple(prompt),
            plans=None if plans is None else tuple(plans),
            negative_prompt=negative_prompt,
            num_images=num_images,
            seed=seed,
            settings=settings,
            init_image=init_image,
        )
        on = self._switch.set_of(adapters)
        request = DrawingRequest(request=asked, adapters=on, on_step=on_step, on_plan=on_plan)
        return self._take(request)

    def submit_plan(
        self, prompt: str, seed: int | None = None, *, adapters: Weights = None
    ) -> Handle[str]:
        """Ask for a prompt's plan without drawing it; where it is empty, the prompt is drawn.

        It waits among the questions.

        Args:
            prompt: what is to be drawn.
            seed: of the image that is to be drawn; None is random.
            adapters: as of `submit_drawing`.

        Raises:
            BusyError: `max_waiting` questions wait already.
            ClosedError: the scheduler has ended.
            ConfigError: the model has not learnt to plan.
            PromptError: the prompt is no text.
        """
        asked = GenerationRequest(prompts=(prompt,), settings=DrawingSettings(plan="always"))
        on = self._switch.set_of(adapters)
        has_learnt = can_plan(self._switch.model, dict(on))
        plans_first(asked.settings, has_learnt=has_learnt, has_init_image=False)
        asking = {"messages": planning_question(prompt), "settings": HOW, "seed": chosen(seed)}
        return self._take(QuestionRequest(**asking, adapters=on))

    def submit_question(
        self,
        messages: Sequence[Message],
        *,
        settings: AnsweringSettings | None = None,
        seed: int | None = None,
        allow_paths: bool = True,
        adapters: Weights = None,
        on_piece: Callable[[str], None] | None = None,
    ) -> QuestionRequest:
        """Ask for the next turn of a conversation; the arguments are those of `JanusFlow.stream`.

        Args:
            messages: any number of turns and images, the last one the user's.
            settings: how tokens are chosen, how many, where to stop, and which logprobs to tell.
            seed: of the draws; None is random.
            allow_paths: False refuses file paths in messages, for those that come over a network.
            adapters: as of `submit_drawing`.
            on_piece: called by the stepping thread with the text as it comes; be quick.

        Returns:
            The future of the text, which also has its tokens, their logprobs and why it ended.

        Raises:
            BusyError: `max_waiting` questions wait already.
            ClosedError: the scheduler has ended.
            ConfigError: adapters are unknown or merged.
        """
        question = QuestionRequest(
            messages=messages,
            settings=settings or AnsweringSettings(),
            seed=chosen(seed),
            allow_paths=allow_paths,
            adapters=self._switch.set_of(adapters),
            on_piece=on_piece,
        )
        return self._take(question)

    def submit_call(
        self, function: Callable[[], Result], *, adapters: Weights = None
    ) -> Handle[Result]:
        """Have the stepping thread call a function, one of all that wait between two steps.

        Args:
            function: may touch the model; everybody waits for it, so be quick.
            adapters: as of `submit_drawing`.

        Returns:
            The future of what it returns, or of what it raises.

        Raises:
            BusyError: `max_waiting` calls wait already.
            ClosedError: the scheduler has ended.
        """
        return self._take(CallRequest(function=function, adapters=self._switch.set_of(adapters)))

    @torch.no_grad()
    def step(self) -> bool:
        """Evaluate all running images once, go on with all answers, make one call; False when idle.

        What goes wrong is raised by the `result` of the requests it concerns, never here.
        """
        with self._lock:
            arrived, self._arrived = self._arrived, []
            for request in arrived:
                waiting: deque[Any] = self._batchers[type(request)].waiting
                waiting.append(request)
            self._has_arrived.clear()
        start, worked = time.perf_counter(), dict.fromkeys(KINDS, 0)
        for kind, batcher in self._batchers.items():
            # They know which request an error concerns; what they overlook concerns all of theirs.
            with failing(*batcher.handles):
                worked[kind] = batcher.step()
        if not self._open:
            self._switch.turn(self._switch.default)
        images, answers = worked[DrawingRequest], worked[QuestionRequest]
        if self.on_batch is not None and images + answers:
            seconds = time.perf_counter() - start
            self.on_batch(BatchInfo(seconds=seconds, images=images, answers=answers))
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
            waiting = self._num_waiting(type(request))
            if self.max_waiting is not None and waiting >= self.max_waiting:
                raise BusyError(
                    f"{waiting} {KINDS[type(request)]} wait, max_waiting={self.max_waiting}: try "
                    "again later."
                )
            self._arrived.append(request)
            self._open.add(request)
            request.add_done_callback(self._open.discard)
            self._has_arrived.set()
        return request
