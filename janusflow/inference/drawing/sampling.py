"""Draw latents: prompts read once, then the flow's ODE from noise (t=0) to data (t=1).

Knows the model and the flow, neither the tokenizer nor the VAE. An image depends on its prompt
and its seed only, never on the images drawn beside it: every example has its own noise, padding
is masked, and dopri5, whose steps are chosen on a whole batch, gets its images one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.config.guidance import schedule_of
from janusflow.config.upscaling import NONE, read_upscaling
from janusflow.flow import (
    GRIDS,
    SOLVERS,
    PathPoint,
    Sampler,
    StepInfo,
    VelocityFn,
    adaptive_solver_steps,
    point_on_path,
    run_sampler,
    solver_steps,
    time_grid,
    with_extrapolation,
    with_guidance,
    with_guidance_schedule,
)
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, Prompt, stack, unconditional

NUMERICS = ("accurate", "parity")
PLANS = ("auto", "always", "never")
KNOWN = {"solver": SOLVERS, "numerics": NUMERICS, "grid": GRIDS, "plan": PLANS}
ADAPTIVE = "dopri5"

Result = TypeVar("Result")


class SamplerControl(TypedDict, total=False):
    """Those of DrawingSettings that few people set."""

    shift: float
    numerics: str
    grid: str
    guidance_rescale: float
    reuse: float
    plan: str
    best_of: int
    upscale: str


@dataclass(frozen=True, kw_only=True)
class DrawingSettings:
    """How a prompt becomes a latent. The defaults are the paper's, which has no plans."""

    steps: int = 30
    """Steps from t=0 to t=1; dopri5 chooses its own."""
    guidance: float | str = 2.0
    """Classifier-free guidance w: v = w v_conditional - (w - 1) v_unconditional; 1 is none.
    A text is a schedule over time, such as 3@0.1-0.6 (config/guidance.py)."""
    solver: str = "euler"
    """One of flow.SOLVERS; dopri5 is adaptive."""
    shift: float = 1.0
    """Bend of the time grid: above 1 more steps are spent near noise."""
    numerics: str = "accurate"
    """accurate: the state is float32. parity: state, time and step are bfloat16, as released."""
    grid: str = "uniform"
    """One of flow.GRIDS, where the steps lie before `shift` bends them."""
    guidance_rescale: float = 0.0
    """Share of the way back to the spread that velocities have without guidance; 0 is none."""
    reuse: float = 0.0
    """Relative error up to which Euler steps foretell velocities; 0 is never (flow/reuse.py)."""
    plan: str = "auto"
    """Whether the LLM first says where everything is (planning.py): auto is where it has learnt to
    and no image is given to start from."""
    best_of: int = 1
    """So many are drawn for each image, and the one that `JanusFlow.scorer` likes best is kept.
    Candidate k of the image with seed s has seed s + 1,000,000 k (seeds.py, best_of.py)."""
    upscale: str = NONE
    """How images are made larger at the end, such as lanczos:2 (config/upscaling.py)."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: at least 1 is needed. The paper uses 30.")
        for name, known in KNOWN.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} is unknown. Use one of: {', '.join(known)}."
                )
        if not self.shift > 0:
            raise ConfigError(f"shift={self.shift} is not positive. Use 1 for a uniform grid.")
        for name in ("guidance_rescale", "reuse"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)} is outside [0, 1]: 0 is none.")
        if self.best_of < 1:
            raise ConfigError(f"best_of={self.best_of}: at least 1 image must be drawn.")
        schedule_of(self.guidance)
        read_upscaling(self.upscale)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.numerics == "parity" and self.solver == ADAPTIVE:
            raise ConfigError(
                "numerics=parity with solver=dopri5: the release has fixed bfloat16 steps only. "
                "Use solver=euler, or numerics=accurate."
            )
        if self.numerics == "parity" and self._is_beyond_release:
            raise ConfigError(
                f"numerics=parity with guidance={self.guidance}, guidance_rescale="
                f"{self.guidance_rescale}, reuse={self.reuse}: the release has one weight for all "
                "steps, and evaluates each. Use numerics=accurate."
            )
        if self.solver == ADAPTIVE and not schedule_of(self.guidance).is_one_piece:
            raise ConfigError(
                f"solver=dopri5 with guidance={self.guidance}: its estimate of the error misses "
                "jumps of the weight. Use another solver, or one piece such as 2 or 4..1."
            )
        if self.reuse > 0.0 and self.solver != "euler":
            raise ConfigError(
                f"reuse={self.reuse} with solver={self.solver}: its steps need every velocity they "
                "ask for. Use solver=euler, or reuse=0."
            )

    @property
    def _is_beyond_release(self) -> bool:
        has_schedule = schedule_of(self.guidance).constant is None
        return has_schedule or self.guidance_rescale > 0.0 or self.reuse > 0.0

    @property
    def is_guided(self) -> bool:
        """Whether the unconditional branch has any weight at any time."""
        return schedule_of(self.guidance).is_guided


@dataclass(frozen=True, kw_only=True)
class PromptEncoding:
    """All prompts of a call, read once and stacked: prompts first, unconditional rows after."""

    cache: PrefixCache
    unconditional_rows: list[int]
    """For every prompt the row its unconditional branch reads; empty without guidance."""

    def select(self, prompts: list[int]) -> PrefixCache:
        """Give the rows of these prompts (repeats allowed), then those of their counterparts."""
        rows = prompts + [self.unconditional_rows[i] for i in prompts if self.unconditional_rows]
        return self.cache.select(rows)


def encode_prompts(
    model: JanusFlowForConditionalGeneration,
    prompts: Prompt,
    *,
    negative: Prompt | None,
    is_guided: bool,
) -> PromptEncoding:
    """Read every prompt once, together with what the unconditional branch reads.

    Args:
        model: reads the prompts on its own device.
        prompts: one row a prompt.
        negative: one row, read by every prompt's unconditional branch instead of nothing.
        is_guided: False leaves the unconditional branch out.
    """
    num_prompts = len(prompts.token_ids)
    rows, counterparts = [prompts], []
    if is_guided and negative is not None:
        rows, counterparts = [prompts, negative], [num_prompts] * num_prompts
    elif is_guided:
        # One row each: masked tokens count as positions, so it depends on the prompt's length.
        rows = [prompts, unconditional(prompts)]
        counterparts = list(range(num_prompts, 2 * num_prompts))
    stacked = stack(rows, pad_token_id=model.config.pad_token_id or 0).to(model.device)
    return PromptEncoding(cache=model.encode_prompt(stacked), unconditional_rows=counterparts)


def guided_velocity(
    model: JanusFlowForConditionalGeneration,
    prompts: PrefixCache,
    *,
    guidance: float | str,
    rescale: float = 0.0,
) -> VelocityFn:
    """Make the velocity function of these prompts; weight 1 runs no unconditional branch.

    The branches are combined in the state's dtype: float32, or the release's bfloat16 in parity.
    """
    schedule = schedule_of(guidance)
    velocity = _velocity(model, prompts)
    if not schedule.is_guided:
        return velocity
    if schedule.constant is not None:
        return with_guidance(velocity, scale=schedule.constant, rescale=rescale)
    conditional = list(range(len(prompts.next_position) // 2))
    return with_guidance_schedule(
        velocity,
        _velocity(model, prompts.select(conditional)),
        weight=schedule.weight,
        rescale=rescale,
    )


def _velocity(model: JanusFlowForConditionalGeneration, prompts: PrefixCache) -> VelocityFn:
    return lambda x_t, t: model.velocity(x_t, t, prompts).to(x_t.dtype)


def velocity_of_images(
    model: JanusFlowForConditionalGeneration,
    prompts: PromptEncoding,
    prompt_of_each: list[int],
    *,
    settings: DrawingSettings,
) -> VelocityFn:
    """Make the velocity function that the settings ask for, for one path of these images.

    Args:
        model: evaluates it.
        prompts: all that were read.
        prompt_of_each: for every image which of them it is of.
        settings: guidance, and whether velocities may be foretold.
    """

    def of_rows(rows: list[int]) -> VelocityFn:
        return guided_velocity(
            model,
            prompts.select([prompt_of_each[row] for row in rows]),
            guidance=settings.guidance,
            rescale=settings.guidance_rescale,
        )

    if settings.reuse > 0.0:
        return with_extrapolation(of_rows, threshold=settings.reuse)
    return of_rows(list(range(len(prompt_of_each))))


@dataclass(frozen=True, kw_only=True)
class InitImage:
    """An image to start from (SDEdit, Meng et al. 2021), and what of it may change."""

    latent: Float[Tensor, "n c y x"]
    """One for all images of the batch, or one each."""
    strength: float
    """How much of the path is walked: it starts at t = 1 - strength."""
    mask: Bool[Tensor, "m 1 y x"] | None = None
    """True is drawn anew, False is kept; None draws all of it anew."""
    own: Float[Tensor, "n c y x"] | None = None
    """Where the drawing starts, if not between a seed's noise and the image (inversion.py)."""

    def __post_init__(self) -> None:
        if not 0.0 < self.strength <= 1.0:
            raise ConfigError(
                f"strength={self.strength} is outside (0, 1]: 1 draws freely, small values stay "
                "close to the image. Use 0.6 to begin with."
            )

    def start(self, noise: Float[Tensor, "b c y x"]) -> PathPoint:
        """Where on the straight path from this noise to this image the drawing starts."""
        t = torch.full((len(noise),), 1.0 - self.strength, device=noise.device)
        if self.own is not None:
            velocity = (self.latent - self.own) / self.strength
            return PathPoint(x_t=self.own.expand_as(noise), t=t, velocity=velocity)
        return point_on_path(data=self.latent.expand_as(noise), noise=noise, t=t)


def keep_outside(
    drawing: Sampler[Result], *, mask: Bool[Tensor, "m 1 y x"], path: PathPoint
) -> Sampler[Result]:
    """Change only what is inside the mask; outside, every step stays on the original's path.

    That path is straight, so there its velocity is exact for every solver and every step size.
    """
    try:
        evaluation = next(drawing)
        while True:
            velocity = yield evaluation
            kept = path.velocity.to(evaluation.x_t.dtype)
            evaluation = drawing.send(torch.where(mask, velocity, kept))
    except StopIteration as end:
        return end.value


@torch.no_grad()
def draw_latents(
    velocity: VelocityFn,
    noise: Float[Tensor, "b c y x"],
    *,
    settings: DrawingSettings,
    original: InitImage | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Float[Tensor, "b c y x"]:
    """Follow the velocity from noise, or from a point between noise and an original, to data."""
    return run_sampler(
        velocity, drawing(noise, settings=settings, original=original, on_step=on_step)
    )


def drawing(
    noise: Float[Tensor, "b c y x"],
    *,
    settings: DrawingSettings,
    original: InitImage | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Sampler[Float[Tensor, "b c y x"]]:
    """Do what `draw_latents` does, asking for the velocities instead of calling for them."""
    if original is None:
        return (yield from _walk(noise, start=0.0, settings=settings, on_step=on_step))
    path, start = original.start(noise), 1.0 - original.strength
    walk = _walk(path.x_t, start=start, settings=settings, on_step=on_step)
    if original.mask is not None:
        walk = keep_outside(walk, mask=original.mask, path=path)
    return (yield from walk)


def _walk(
    x_t: Float[Tensor, "b c y x"],
    *,
    start: float,
    settings: DrawingSettings,
    on_step: Callable[[StepInfo], None] | None,
) -> Sampler[Float[Tensor, "b c y x"]]:
    if settings.solver == ADAPTIVE:
        solution = yield from adaptive_solver_steps(x_t, start=start, on_step=on_step)
        return solution.data
    data = yield from solver_steps(
        x_t,
        times=times_from(start, settings),
        solver=settings.solver,
        on_step=on_step,
        state_dtype=torch.bfloat16 if settings.numerics == "parity" else torch.float32,
    )
    return data.float()


def times_from(start: float, settings: DrawingSettings) -> Float[Tensor, " s"]:
    """The settings' time grid, what lies before `start` cut off: the step size stays as it is."""
    grid = time_grid(settings.steps, shift=settings.shift, grid=settings.grid)
    # A first step much shorter than the rest would be an evaluation for nothing.
    after = grid[grid > start + 1e-4]
    return torch.cat([torch.tensor([start], dtype=grid.dtype), after]) if start > 0.0 else grid
