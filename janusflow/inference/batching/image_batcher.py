"""Images under way: each with its own time, solver, guidance and prompt, all in one forward.

Knows nothing of threads: one thread admits requests and makes steps.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from janusflow.config.errors import NotFiniteError
from janusflow.config.guidance import schedule_of
from janusflow.flow import StepInfo
from janusflow.inference.batching.adapter_switch import AdapterSet
from janusflow.inference.batching.prompt_reader import PromptReader
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.batching.text_batcher import QuestionRequest, TextBatcher
from janusflow.inference.drawing.batches import DrawingStep, GenerationRequest, OnStep
from janusflow.inference.drawing.best_of import choose
from janusflow.inference.drawing.generation import decode_records, noise_of, prepare_request
from janusflow.inference.drawing.metadata import DrawingRecord
from janusflow.inference.drawing.planning import HOW
from janusflow.inference.drawing.prompts import PromptEncoding, PromptVelocity
from janusflow.inference.drawing.sampling import image_sampler
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, join
from janusflow.processing.templates import planning_question

PLAN_TOKENS_PER_STEP = 8
"""Tokens of every plan under way between two evaluations of the images."""


@dataclass(eq=False, repr=False, kw_only=True)
class DrawingRequest(Handle[list[Image.Image]]):
    """A request, how much of it is done, and the future of its images."""

    request: GenerationRequest
    adapters: AdapterSet = ()
    """On while it is planned and drawn."""
    on_step: OnStep | None = None
    on_plan: Callable[[list[str]], None] | None = None
    """Told the plans that the model made, one an image, before they are drawn."""
    records: list[DrawingRecord] = field(default_factory=list)
    """Of every image, once the request is admitted; with plans, once they are made."""
    plans: list[QuestionRequest] | None = None
    """For every record, once they are asked for; none if prompts are drawn as they are."""
    prompts: PromptEncoding | None = None
    """There once they are read."""
    num_started: int = 0
    images: dict[int, Image.Image] = field(default_factory=dict)
    """Finished ones, by their place in the request."""

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def num_left(self) -> int:
        """Images that are not under way, candidates included."""
        asked = self.request
        count = len(asked.prompts) * asked.num_images * asked.settings.best_of
        return count - self.num_started

    def ask_for_plans(self, jf: JanusFlow) -> list[QuestionRequest]:
        """Prepare the request; the questions whose answers are drawn instead of the prompts."""
        self.request, self.records = prepare_request(jf, self.request)
        self.plans = []
        if self.request.settings.plan == "always":
            self.plans = [
                QuestionRequest(
                    messages=planning_question(each.prompt),
                    settings=HOW,
                    seed=each.seed,
                    adapters=self.adapters,
                )
                for each in self.records
            ]
        return self.plans

    def encode(self, reader: PromptReader) -> PromptEncoding:
        """Read what is drawn, the plans if there are; raises what went wrong with one of them."""
        if self.prompts is None:
            if self.plans:
                self.records = [
                    replace(record, plan=plan.result(0.0) or record.prompt)
                    for record, plan in zip(self.records, self.plans, strict=True)
                ]
                if self.on_plan is not None:
                    self.on_plan([record.plan or record.prompt for record in self.records])
            self.prompts = reader.read_texts(
                [record.plan or record.prompt for record in self.records],
                is_guided=schedule_of(self.request.settings.guidance).is_guided,
                negative_prompt=self.request.negative_prompt,
            )
        return self.prompts


class RunningImage:
    """One image between noise and data: a sampler that waits for a velocity."""

    def __init__(self, jf: JanusFlow, owner: DrawingRequest, prompts: PromptEncoding) -> None:
        self.owner = owner
        self.index = owner.num_started
        self.t = 0.0
        """Where its last step started."""
        self.latent: Tensor | None = None
        """There once the sampler has finished."""
        self._vae = jf.vae
        self.record, request = owner.records[self.index], owner.request
        self._velocity = PromptVelocity(
            jf.model, prompts, [[self.record.plan or self.record.prompt]]
        )
        self._sampler = image_sampler(
            noise_of(jf, [self.record]),
            request.settings,
            init_image=request.init_image,
            on_step=self._made_step,
        )
        self.query = next(self._sampler)

    @property
    def prefix(self) -> PrefixCache:
        """What the rows of its query continue: two where it is guided."""
        return self._velocity.prefix(self.query)

    def advance(self, velocities: Float[Tensor, "rows c y x"]) -> None:
        """Take the velocities of its rows, and go on to the next query."""
        try:
            self.query = self._sampler.send(velocities.to(self.query.x_t.dtype))
        except StopIteration as end:
            self.latent = end.value

    def _made_step(self, info: StepInfo) -> None:
        self.t = info.t
        if self.owner.on_step is not None:
            self.owner.on_step(DrawingStep(info=info, first_image=self.index, vae=self._vae))


class BatchedVelocity:
    """Answers the queries of many images at once, each at its own time."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        self.model = model
        self._read: list[PrefixCache] = []
        self._prompts: PrefixCache | None = None

    def velocities(self, images: Sequence[RunningImage]) -> list[Float[Tensor, "rows c y x"]]:
        """One entry an image. Prefixes are joined anew only where others are read than before."""
        read = [image.prefix for image in images]
        if self._prompts is None or [*map(id, read)] != [*map(id, self._read)]:
            self._read, self._prompts = read, join(read)
        queries = [image.query for image in images]
        rows = [len(query.branches) for query in queries]
        x_t = torch.cat([query.x_t for query in queries for _ in query.branches])
        times = [query.t for query in queries for _ in query.branches]
        t = torch.tensor(times, dtype=torch.float32).to(x_t.device, non_blocking=True)
        return list(self.model.velocity(x_t, t, self._prompts).split(rows))


class ImageBatcher:
    """Drawing requests, first come, first served: waiting ones and images under way."""

    def __init__(self, jf: JanusFlow, reader: PromptReader, *, max_images: int) -> None:
        self.jf = jf
        self.reader = reader
        self.max_images = max_images
        self.waiting: deque[DrawingRequest] = deque()
        """Requests that have images not yet under way."""
        self.running: list[RunningImage] = []
        self.num_steps = 0
        """Forwards that images shared."""
        self.num_finished = 0
        """Images decoded."""
        self.planning = TextBatcher(
            jf, reader, max_questions=max_images, tokens_per_step=PLAN_TOKENS_PER_STEP
        )
        self._forwards: dict[AdapterSet, BatchedVelocity] = {}
        """Of images that share forwards."""

    @property
    def handles(self) -> list[Handle[list[Image.Image]]]:
        """All requests, repeated for those with several images under way."""
        return [*self.waiting, *(image.owner for image in self.running)]

    def step(self) -> int:
        """Let go of what was called off, take what there is room for, evaluate once, finish.

        Returns:
            How many images were evaluated.
        """
        self._plan()
        self._drop_done()
        self._admit()
        number = len(self.running)
        groups = self.reader.switch.grouped(self.running, lambda image: image.owner.adapters)
        self._forwards = {
            adapters: self._forwards.get(adapters) or BatchedVelocity(self.jf.model)
            for adapters, _ in groups
        }
        for adapters, images in groups:
            with failing(*(image.owner for image in images)):
                self.reader.switch.turn(adapters)
                velocities = self._forwards[adapters].velocities(images)
                self.num_steps += 1
                for image, own in zip(images, velocities, strict=True):
                    with failing(image.owner):
                        image.advance(own)
        if not number:
            return 0
        self._drop_done()
        self._finish()
        self._tell_progress()
        return number

    def _drop_done(self) -> None:
        self.running = [image for image in self.running if not image.owner.done()]

    def _plan(self) -> None:
        """Ask for the plans of requests that have come, and write on at all that are asked for."""
        for request in self.waiting:
            if request.done():
                for plan in request.plans or ():
                    plan.cancel()
            elif request.plans is None:
                with failing(request):
                    self.reader.switch.turn(request.adapters)
                    self.planning.waiting.extend(request.ask_for_plans(self.jf))
        self.waiting = deque(request for request in self.waiting if not request.done())
        with failing(*(plan for request in self.waiting for plan in request.plans or ())):
            self.planning.step()

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.max_images:
            request = self.waiting[0]
            if not all(plan.done() for plan in request.plans or ()):
                return  # Nobody overtakes.
            with failing(request):
                self.reader.switch.turn(request.adapters)
                prompts = request.encode(self.reader)  # puts the plans into the records too
                self.running.append(RunningImage(self.jf, request, prompts))
                request.num_started += 1
            if request.done() or request.num_started == len(request.records):
                self.waiting.popleft()

    def _finish(self) -> None:
        """Decode the images that are done, all in one go, and deliver whole requests."""
        finished = [image for image in self.running if image.latent is not None]
        self.running = [image for image in self.running if image.latent is None]
        owners = dict.fromkeys(image.owner for image in finished)
        with failing(*owners):
            try:
                self._decode(finished)
            except NotFiniteError:  # of one of them: the others are well
                for image in finished:
                    with failing(image.owner):
                        self._decode([image])
        for owner in owners:
            with failing(owner):
                self._deliver(owner)

    def _decode(self, finished: Sequence[RunningImage]) -> None:
        latents = [image.latent for image in finished if image.latent is not None]
        if latents:
            records = [image.record for image in finished]
            starts = [image.owner.request.init_image for image in finished]
            drawn = decode_records(self.jf, records, torch.cat(latents), starts)
            for image, own in zip(finished, drawn, strict=True):
                image.owner.images[image.index] = own
                self.num_finished += 1

    def _deliver(self, owner: DrawingRequest) -> None:
        if len(owner.images) == len(owner.records):
            images = [owner.images[index] for index in range(len(owner.records))]
            number = owner.request.settings.best_of
            groups = [images[first : first + number] for first in range(0, len(images), number)]
            if number > 1:
                self.reader.switch.turn(owner.adapters)
            chosen = [choose(self.jf, group) if number > 1 else group[0] for group in groups]
            owner.progress = 1.0
            owner.set_result(chosen)

    def _tell_progress(self) -> None:
        """The mean time of a request's images: 1 for finished ones, 0 for waiting ones."""
        for owner in dict.fromkeys(image.owner for image in self.running):
            times = [image.t for image in self.running if image.owner is owner]
            owner.progress = (len(owner.images) + sum(times)) / len(owner.records)
