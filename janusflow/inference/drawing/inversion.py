"""Find the noise that an image would have been drawn from, to draw it again under other words.

The ODE is followed backwards from the encoded image, without guidance, which would make the way
back another one; then forwards as always. What the new prompt does not change tends to stay.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.flow import VelocityFn, solve, solve_adaptive
from janusflow.flow.reversal import reverse_times, reverse_velocity
from janusflow.inference.drawing.sampling import (
    ADAPTIVE,
    DrawingSettings,
    InitImage,
    encode_prompts,
    guided_velocity,
    times_from,
)
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt


def inverted(
    original: InitImage,
    model: JanusFlowForConditionalGeneration,
    prompt: Prompt,
    *,
    settings: DrawingSettings,
) -> InitImage:
    """The original, to be drawn from its own noise instead of from a seed's.

    Args:
        original: of strength 1 all the way to noise, else as far as it will be walked again.
        model: says where the flow goes.
        prompt: one row, what the image shows.
        settings: solver and times; the guidance is not used.

    Raises:
        ConfigError: the settings' steps are the release's, whose rounding leads elsewhere.
    """
    if settings.numerics != "accurate":
        raise ConfigError(
            f"invert with numerics={settings.numerics}: its rounding finds no way back. Use "
            "numerics=accurate."
        )
    read = encode_prompts(model, prompt, negative=None, is_guided=False)
    velocity = guided_velocity(model, read.cache, guidance=1.0)
    start = 1.0 - original.strength
    return replace(original, own=invert(velocity, original.latent, start=start, settings=settings))


@torch.no_grad()
def invert(
    velocity: VelocityFn,
    latent: Float[Tensor, "n c y x"],
    *,
    start: float,
    settings: DrawingSettings,
) -> Float[Tensor, "n c y x"]:
    """Follow the velocity from data back to time `start`, in the steps that lead forwards."""
    back = reverse_velocity(velocity, start=start)
    if settings.solver == ADAPTIVE:
        return solve_adaptive(back, latent, start=start).data
    times = reverse_times(times_from(start, settings), start=start)
    return solve(back, latent, times=times, solver=settings.solver)
