"""What is measured of both sides: ours with one velocity besides, and which runs there are.

The authors' side needs this in an environment of other libraries: at import it needs torch alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from janusflow.inference.speed import OurModel, SpeedSettings, Stopwatch

CASES = {"load": "", "velocity": "batch", "image": "batch", "ask": "images"}
"""What is measured -> the setting that it is repeated over."""
TIME = 0.5
"""At which a velocity is evaluated."""


class OurSide(OurModel):
    """What `janusflow bench` measures, and one velocity."""

    @torch.no_grad()
    def velocity(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        """One guided velocity [b, c, h, w], the prompt encoded before, as at a solver's step."""
        from janusflow.flow import CONDITIONAL, UNCONDITIONAL, VelocityQuery, combine
        from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts

        model, prompt = self.jf.model, settings.prompt
        flow = model.config.generation
        prompts = encode_texts(model, self.jf.processor, [prompt], is_guided=True)
        velocity = PromptVelocity(model, prompts, [[prompt]] * settings.batch)
        shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
        x_t = noise(shape, batch=settings.batch, seed=settings.seed).to(model.device)
        query = VelocityQuery(x_t, TIME, (CONDITIONAL, UNCONDITIONAL))
        velocity.prefix(query)  # selected once a drawing, not at every step
        with watch:
            found = combine(velocity(query), scale=settings.guidance)
        return found.float().cpu().numpy()


def plan_runs(
    cases: Sequence[str], settings: SpeedSettings, *, batches: Sequence[int], images: Sequence[int]
) -> list[SpeedSettings]:
    """Settings of every run but loading, in the order of CASES."""
    values = {"batch": batches, "images": images}
    return [
        replace(settings, case=case, **{over: value})
        for case, over in CASES.items()
        if over and case in cases
        for value in values[over]
    ]


def noise(shape_of_one: tuple[int, ...], *, batch: int, seed: int) -> Tensor:
    """Standard normal [b, ...], image i from seed + i; float32 on the CPU."""
    seeds = range(seed, seed + batch)
    return torch.stack(
        [torch.randn(shape_of_one, generator=torch.Generator().manual_seed(each)) for each in seeds]
    )
