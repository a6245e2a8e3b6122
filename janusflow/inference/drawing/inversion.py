"""Find the noise that an image would have been drawn from, to draw it again under other words.

The ODE is followed backwards from the encoded image, without guidance, which would make the way
back another one; then forwards as always. What the new prompt does not change tends to stay.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.flow import (
    Velocity,
    reverse,
    reverse_times,
    run_sampler,
    solve,
    solve_adaptive,
    time_grid,
)
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.prompts import PromptEncoding, PromptVelocity, prompt_of
from janusflow.inference.drawing.sampling import ADAPTIVE, DrawingSettings
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import unconditional
from janusflow.processing.processor import JanusFlowProcessor


def inverted(
    init_image: InitImage,
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    *,
    settings: DrawingSettings,
) -> InitImage:
    """The image, to be drawn from its own noise instead of from a seed's.

    Args:
        init_image: of strength 1 all the way to noise, else as far as it will be walked again;
            its `invert` is what it shows, "" says nothing.
        model: says where the flow goes.
        processor: puts these words into the template.
        settings: solver and times; the guidance is not used.

    Raises:
        ConfigError: the settings' steps are the release's, whose rounding leads elsewhere.
    """
    if settings.numerics != "accurate":
        raise ConfigError(
            f"invert with numerics={settings.numerics}: its rounding finds no way back. Use "
            "numerics=accurate."
        )
    text = init_image.invert or ""
    shown = prompt_of(model, processor, [text])
    cache = model.encode_prompt(shown if text else unconditional(shown))
    prompts = PromptEncoding(texts=[text], cache=cache, unconditional_rows=[])
    noise = invert(
        PromptVelocity(model, prompts, [[text]] * len(init_image.latent)),
        init_image.latent,
        start=1.0 - init_image.strength,
        settings=settings,
    )
    return replace(init_image, inverted_noise=noise)


@torch.no_grad()
def invert(
    velocity: Velocity,
    latent: Float[Tensor, "n c y x"],
    *,
    start: float,
    settings: DrawingSettings,
) -> Float[Tensor, "n c y x"]:
    """Follow the velocity from data back to time `start`, in the steps that lead forwards."""
    if settings.solver == ADAPTIVE:
        sampler = solve_adaptive(latent, start=start)
    else:
        times = time_grid(settings.steps, shift=settings.shift, grid=settings.grid, start=start)
        times = reverse_times(times, start=start)
        sampler = solve(latent, times=times, solver=settings.solver)
    return run_sampler(reverse(sampler, start=start), velocity)
