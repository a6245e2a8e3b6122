"""How an image is drawn: settings, and the sampler they stand for.

Knows the flow only. An image depends on its prompt, its seed and its settings, never on the images
drawn beside it: every image has its own noise, and dopri5, whose steps are chosen on a whole
batch, gets its images one by one.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.config.guidance import schedule_of
from janusflow.config.upscaling import NONE, read_upscaling
from janusflow.flow import (
    GRIDS,
    SOLVERS,
    Sampler,
    StepInfo,
    extrapolate,
    guide,
    keep,
    mix,
    solve,
    solve_adaptive,
    time_grid,
)
from janusflow.inference.drawing.init_image import InitImage

NUMERICS = ("accurate", "parity")
PLANS = ("auto", "always", "never")
KNOWN = {"solver": SOLVERS, "numerics": NUMERICS, "grid": GRIDS, "plan": PLANS}
ADAPTIVE = "dopri5"
NUMBERS: dict[str, Callable[[Any], float]] = {
    "steps": operator.index,
    "best_of": operator.index,
    "shift": float,
    "guidance_rescale": float,
    "reuse": float,
}
"""Fields that are numbers, numpy's included; Python's are kept."""
LARGEST_SHIFT = 100.0
"""Beyond, float32 cannot tell the times of many steps apart."""


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
    """Velocity caching: relative error up to which Euler steps extrapolate velocities instead of
    evaluating them; 0 is never (flow/extrapolation.py)."""
    plan: str = "auto"
    """Whether the LLM first says where everything is (planning.py): auto is where it has learnt to
    and no image is given to start from."""
    best_of: int = 1
    """So many are drawn for each image, and the one that `JanusFlow.scorer` likes best is kept.
    Candidate k of the image with seed s has seed s + 1,000,000 k (seeds.py, best_of.py)."""
    upscale: str = NONE
    """How images are made larger at the end, such as lanczos:2 (config/upscaling.py)."""

    def __post_init__(self) -> None:
        for name, read in NUMBERS.items():
            value = getattr(self, name)
            try:
                number = read(None if isinstance(value, str) else value)
            except (TypeError, ValueError):
                wanted = "whole" if read is operator.index else "finite"
                raise ConfigError(f"{name}={value!r}: wanted a {wanted} number.") from None
            object.__setattr__(self, name, number)
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps}: at least 1 is needed. The paper uses 30.")
        for name, known in KNOWN.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} is unknown. Use one of: {', '.join(known)}."
                )
        if not 1 / LARGEST_SHIFT <= self.shift <= LARGEST_SHIFT:
            raise ConfigError(
                f"shift={self.shift} is outside [{1 / LARGEST_SHIFT:g}, {LARGEST_SHIFT:g}]. Use 1 "
                "for a uniform grid."
            )
        for name in ("guidance_rescale", "reuse"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)} is outside [0, 1]: 0 is none.")
        if self.best_of < 1:
            raise ConfigError(f"best_of={self.best_of}: at least 1 image must be drawn.")
        schedule_of(self.guidance)
        if not isinstance(self.guidance, str):
            object.__setattr__(self, "guidance", float(self.guidance))
        read_upscaling(self.upscale)
        self._check_combinations()

    def _check_combinations(self) -> None:
        schedule = schedule_of(self.guidance)
        if self.numerics == "parity" and self.solver == ADAPTIVE:
            raise ConfigError(
                "numerics=parity with solver=dopri5: the release has fixed bfloat16 steps only. "
                "Use solver=euler, or numerics=accurate."
            )
        is_steered = self.guidance_rescale > 0.0 or self.reuse > 0.0
        if self.numerics == "parity" and (is_steered or schedule.constant is None):
            raise ConfigError(
                f"numerics=parity with guidance={self.guidance}, guidance_rescale="
                f"{self.guidance_rescale}, reuse={self.reuse}: the release has one weight for all "
                "steps, and evaluates each. Use numerics=accurate."
            )
        if self.solver == ADAPTIVE and not schedule.is_one_piece:
            raise ConfigError(
                f"solver=dopri5 with guidance={self.guidance}: its estimate of the error misses "
                "jumps of the weight. Use another solver, or one piece such as 2 or 4..1."
            )
        if self.reuse > 0.0 and self.solver != "euler":
            raise ConfigError(
                f"reuse={self.reuse} with solver={self.solver}: its steps need every velocity they "
                "ask for. Use solver=euler, or reuse=0."
            )


def image_sampler(
    noise: Float[Tensor, "b c y x"],
    settings: DrawingSettings,
    *,
    init_image: InitImage | None = None,
    share: Float[Tensor, " b"] | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
) -> Sampler[Float[Tensor, "b c y x"]]:
    """The sampler from noise, or from a point between noise and an image, to latents in float32.

    Args:
        noise: of every image.
        settings: solver, times, guidance and so on.
        init_image: where to start, and what to keep.
        share: of the second prompt, for images between two (flow/interpolation.py).
        on_step: told of every step, with its start.
    """
    x_t, start, path = noise, 0.0, None
    if init_image is not None:
        path = init_image.start(noise)
        x_t, start = path.x_t, 1.0 - init_image.strength
    if settings.solver == ADAPTIVE:
        sampler = solve_adaptive(x_t, start=start, on_step=on_step)
    else:
        sampler = solve(
            x_t,
            times=time_grid(settings.steps, shift=settings.shift, grid=settings.grid, start=start),
            solver=settings.solver,
            on_step=on_step,
            state_dtype=torch.bfloat16 if settings.numerics == "parity" else torch.float32,
        )
    if init_image is not None and init_image.mask is not None and path is not None:
        sampler = keep(sampler, mask=init_image.mask, path=path)
    if settings.reuse > 0.0:
        sampler = extrapolate(sampler, threshold=settings.reuse)
    if share is not None:
        sampler = mix(sampler, share=share)
    schedule = schedule_of(settings.guidance)
    if schedule.is_guided:
        sampler = guide(sampler, schedule.weight, rescale=settings.guidance_rescale)
    return sampler
