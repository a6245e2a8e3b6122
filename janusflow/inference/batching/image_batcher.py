"""Images under way: each with its own time, solver, guidance and prompt, all in one forward.

Knows nothing of threads: one thread admits requests and makes steps.
"""

from collections import deque
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from janusflow.config.guidance import UNGUIDED, schedule_of
from janusflow.flow import StepInfo, VelocityExtrapolation, VelocityQuery, guided
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.batching.text_batcher import QuestionRequest, TextBatcher
from janusflow.inference.drawing.batches import BatchSampler, GenerationRequest, ImageJob, OnStep
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.planning import HOW, conversation, usable
from janusflow.inference.drawing.sampling import drawing
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, join

PLAN_TOKENS_PER_STEP = 8
"""Tokens of every plan under way between two evaluations of the images."""


@dataclass(kw_only=True)
class DrawingRequest:
    """An order, and how much of it is done."""

    order: GenerationRequest
    on_step: OnStep | None = None
    handle: Handle[list[Image.Image]] = field(default_factory=Handle)
    plans: list[Handle[str]] | None = None
    """For every job, once they are asked for; none if prompts are drawn as they are."""
    drawer: BatchSampler | None = None
    """There once the prompts are read."""
    num_started: int = 0
    images: dict[int, Image.Image] = field(default_factory=dict)
    """Finished ones, by their place in the order."""

    def __post_init__(self) -> None:
        self.jobs: list[ImageJob] = self.order.jobs
        """With plans, once they are made."""

    def plan_questions(self, jf: JanusFlow) -> list[QuestionRequest]:
        """Questions whose answers are drawn instead of the prompts, with each image's seed."""
        if not jf.wants_plans(self.order):
            return []
        return [
            QuestionRequest(messages=conversation(job.prompt), settings=HOW, seed=job.seed)
            for job in self.jobs
        ]

    def read_plans(self) -> None:
        """Draw what the questions' answers say; raises what went wrong with one of them."""
        if self.plans:
            self.jobs = [
                replace(job, plan=usable(plan.result(0.0), job.prompt))
                for job, plan in zip(self.jobs, self.plans, strict=True)
            ]


class RunningImage:
    """One image between noise and data: a solver that waits for a velocity."""

    def __init__(self, request: DrawingRequest, drawer: BatchSampler, *, index: int) -> None:
        job = request.jobs[index]
        self.request = request
        self.index = index
        self.settings = drawer.settings
        self._schedule = schedule_of(drawer.settings.guidance)
        self._all = drawer.prompts.select([drawer.row(job)])
        is_for_all = self._schedule.constant is not None
        self._conditional = self._all if is_for_all else self._all.select([0])
        self.t = 0.0
        """Where its last step started."""
        self.latent: Tensor | None = None
        """There once it has landed."""
        self._tell = drawer.teller(index)
        self._solver = drawing(
            drawer.noise([job]),
            settings=drawer.settings,
            original=drawer.original,
            on_step=self._made_step,
        )
        reuse = drawer.settings.reuse
        self._extrapolation = VelocityExtrapolation(threshold=reuse) if reuse > 0.0 else None
        self._want(next(self._solver))

    @property
    def num_rows(self) -> int:
        """Rows of the evaluation that is wanted."""
        return len(self.prompt.attention_mask)

    def _want(self, evaluation: VelocityQuery) -> None:
        """Keep what is wanted next, its guidance, and what its rows read: two where guided."""
        self.evaluation = evaluation
        weight = self._schedule.constant
        # Reading the time waits for the device: once, and only where the weight depends on it.
        self.weight = self._schedule.weight(float(evaluation.t[0])) if weight is None else weight
        self.prompt = self._conditional if self.weight == UNGUIDED else self._all

    def advance(self, velocities: Float[Tensor, "rows c y x"]) -> None:
        """Take the velocities of its rows, and go on to the next that is wanted."""
        velocity = velocities.to(self.evaluation.x_t.dtype)
        if self.num_rows > 1:
            rescale = self.settings.guidance_rescale
            velocity = guided(velocity, scale=self.weight, rescale=rescale)
        if self._extrapolation is not None:
            self._extrapolation.learn(float(self.evaluation.t[0]), velocity)
        try:
            self._want(self._walk_on(velocity))
        except StopIteration as end:
            self.latent = end.value

    def _walk_on(self, velocity: Float[Tensor, "1 c y x"]) -> VelocityQuery:
        """Make steps until a velocity is wanted that is not foretold."""
        evaluation = self._solver.send(velocity)
        if self._extrapolation is None:
            return evaluation
        extrapolated = self._extrapolation.skip(float(evaluation.t[0]))
        return evaluation if extrapolated is None else self._walk_on(extrapolated)

    def _made_step(self, info: StepInfo) -> None:
        self.t = info.t
        if self._tell is not None:
            self._tell(info)


class BatchedVelocity:
    """Evaluates the velocities of many flights at once, each at its own time."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        self.model = model
        self._read: list[PrefixCache] = []
        self._prompts: PrefixCache | None = None

    def velocities(self, flights: list[RunningImage]) -> list[Float[Tensor, "rows c y x"]]:
        """One entry a flight. Prompts are joined anew only where others are read than before."""
        read = [flight.prompt for flight in flights]
        if self._prompts is None or [*map(id, read)] != [*map(id, self._read)]:
            self._read, self._prompts = read, join(read)
        rows = [flight.num_rows for flight in flights]
        wanted = [flight.evaluation for flight in flights for _ in range(flight.num_rows)]
        x_t = torch.cat([evaluation.x_t for evaluation in wanted])
        t = torch.cat([evaluation.t for evaluation in wanted])
        return list(self.model.velocity(x_t, t, self._prompts).split(rows))

    def forget(self) -> None:
        """Let go of the prompts."""
        self._read, self._prompts = [], None


class ImageBatcher:
    """Drawing requests, first come, first served: waiting ones and images in flight."""

    def __init__(self, jf: JanusFlow, *, max_images: int) -> None:
        self.jf = jf
        self.max_images = max_images
        self.waiting: deque[DrawingRequest] = deque()
        """Requests that have images not yet in flight."""
        self.flights: list[RunningImage] = []
        self._planning = TextBatcher(
            jf, max_questions=max_images, tokens_per_step=PLAN_TOKENS_PER_STEP
        )
        self._forward = BatchedVelocity(jf.model)

    @property
    def handles(self) -> list[Handle[list[Image.Image]]]:
        """Of all requests, repeated for those with several images in flight."""
        return [r.handle for r in self.waiting] + [f.request.handle for f in self.flights]

    def step(self) -> None:
        """Let go of what was called off, take what there is room for, evaluate once, land."""
        self._plan()
        self.flights = [f for f in self.flights if not f.request.handle.is_done]
        self._admit()
        if not self.flights:
            self._forward.forget()
            return
        with failing(*(flight.request.handle for flight in self.flights)):
            velocities = self._forward.velocities(self.flights)
            for flight, own in zip(self.flights, velocities, strict=True):
                with failing(flight.request.handle):
                    flight.advance(own)
        self.flights = [f for f in self.flights if not f.request.handle.is_done]
        self._land([flight for flight in self.flights if flight.latent is not None])
        self._tell_progress()

    def _plan(self) -> None:
        """Ask for the plans of requests that have come, and write on at all that are asked for."""
        for request in self.waiting:
            if request.handle.is_done:
                for plan in request.plans or ():
                    plan.cancel()
            elif request.plans is None:
                with failing(request.handle):
                    questions = request.plan_questions(self.jf)
                    self._planning.waiting.extend(questions)
                    request.plans = [question.handle for question in questions]
        self.waiting = deque(r for r in self.waiting if not r.handle.is_done)
        self._planning.step()

    def _admit(self) -> None:
        while self.waiting and len(self.flights) < self.max_images:
            request = self.waiting[0]
            if not all(plan.is_done for plan in request.plans or ()):
                return  # Nobody overtakes.
            with failing(request.handle):
                if request.drawer is None:
                    request.read_plans()
                    request.drawer = self.jf.drawer(
                        request.order, request.jobs, on_step=request.on_step
                    )
                self.flights.append(
                    RunningImage(request, request.drawer, index=request.num_started)
                )
                request.num_started += 1
            if request.handle.is_done or request.num_started == len(request.jobs):
                self.waiting.popleft()

    def _land(self, landed: list[RunningImage]) -> None:
        """Decode the images that are done, all in one go, and deliver whole orders."""
        if not landed:
            return
        self.flights = [flight for flight in self.flights if flight.latent is None]
        with failing(*(flight.request.handle for flight in landed)):
            latents = torch.cat([flight.latent for flight in landed if flight.latent is not None])
            images = decode_latents(self.jf.vae, latents.to(self.jf.vae.device))
            for flight, image in zip(landed, images, strict=True):
                flight.request.images[flight.index] = image
                self._deliver(flight.request)

    def _deliver(self, request: DrawingRequest) -> None:
        if len(request.images) == len(request.jobs):
            images = [request.images[index] for index in range(len(request.jobs))]
            request.handle.finish(self.jf.finished(request.order, request.jobs, images))

    def _tell_progress(self) -> None:
        """The mean time of a request's images: 1 for finished ones, 0 for waiting ones."""
        for request in {id(f.request): f.request for f in self.flights}.values():
            times = [flight.t for flight in self.flights if flight.request is request]
            request.handle.progress = (len(request.images) + sum(times)) / len(request.jobs)
