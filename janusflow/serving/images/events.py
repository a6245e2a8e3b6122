"""Images as they form: OpenAI's events for partial and finished images, and one of ours: the plan.

The stepping thread only notes its steps. Images on the way are decoded and packed beside it; those
that a newer one has overtaken are left out, except those of `partial_images`.
"""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from janusflow.inference.batching.image_batcher import DrawingRequest
from janusflow.serving.engine import Engine, Work
from janusflow.serving.images.drawing import ImageAnswer, Progress, StepOfImage, finish, usage
from janusflow.serving.images.types import DrawingBody
from janusflow.serving.streaming import KEEP_ALIVE, event

LEAST_SECONDS = 0.1
"""From one image of `preview_every` to the next: nobody sees more, and others wait for less."""


class Wanted:
    """Which steps of one image are shown."""

    def __init__(self, body: DrawingBody, progress: Progress) -> None:
        number = body.partial_images or 0
        self._times = [(place + 1) / (number + 1) for place in range(number)]
        self._every = body.preview_every
        self._progress = progress
        self._shown_at = 0.0
        self.num_shown = 0
        self.has_plan = False
        """Whether its plan was told."""

    def __call__(self, told: StepOfImage, handle: DrawingRequest) -> bool:
        """Whether this step is shown."""
        step = told.step
        if self._times and step.t >= self._times[0]:
            self._times = [time for time in self._times if time > step.t]
            return True
        if self._every is None or step.index % self._every or handle.done():
            return False
        now = time.monotonic()
        if step.index < self._progress.newest or now - self._shown_at < LEAST_SECONDS:
            return False
        self._shown_at = now
        return True


async def image_events(
    engine: Engine,
    work: Work,
    body: DrawingBody,
    progress: Sequence[Progress],
    *,
    prefix: str,
) -> AsyncIterator[str]:
    """All events of a request; the last one of each image is `{prefix}.completed`.

    Args:
        engine: decodes.
        work: tells steps, and has a handle for every image.
        body: which images on the way are wanted.
        progress: from `submit`.
        prefix: image_generation or image_edit.
    """
    answer = ImageAnswer.to(body, engine.jf.image_size)
    wanted, has_shown = [Wanted(body, each) for each in progress], False

    def plan_events(index: int) -> Iterator[str]:
        plan = work.handles[index].records[0].plan if work.handles[index].records else None
        if plan is not None and not wanted[index].has_plan:
            wanted[index].has_plan = True
            kind = f"{prefix}.plan"
            yield event({"type": kind, "image_index": index, "plan": plan}, name=kind)

    def image_event(kind: str, index: int, told: dict[str, Any]) -> str:
        kind = f"{prefix}.{kind}"
        shared = {"created_at": answer.created, **answer.shared, "image_index": index}
        return event({"type": kind, **shared, **told}, name=kind)

    async for item in work.items():
        if item is None:
            yield KEEP_ALIVE
            continue
        is_end = isinstance(item, DrawingRequest)
        index = work.handles.index(item) if is_end else item.image_index
        for each in plan_events(index):
            yield each
        if is_end:
            told = await engine.images.in_thread(answer.entry, item.result()[0])
            yield image_event("completed", index, told | {"usage": usage(engine, [item])})
        elif wanted[index](item, work.handles[index]):
            step = item.step
            packed = await engine.images.in_thread(lambda step=step: answer.encode(step.preview[0]))
            place = {"partial_image_index": wanted[index].num_shown, "b64_json": packed}
            wanted[index].num_shown += 1
            told = place | {"step": step.index + 1, "steps": step.steps, "t": step.t}
            if not has_shown:
                has_shown = True
                work.metrics.showed(work.seconds)
            yield image_event("partial_image", index, told)
    finish(engine, work)
