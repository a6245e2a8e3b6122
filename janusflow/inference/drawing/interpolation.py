"""Images on the way from one drawing to another: between seeds, between prompts, or both.

Seeds: noises are walked along their arc (flow/interpolation.py). Prompts: their velocities are
mixed at every step. What the LLM makes of two prompts has no common shape, for they differ in
tokens and in number of tokens; velocities do, and at both ends they are exactly one prompt's.
"""

import torch
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.config.upscaling import NONE
from janusflow.flow import sample_noise
from janusflow.flow.interpolation import spherical, with_mixture
from janusflow.inference.drawing.batches import batch_size_for
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.planning import plans_first
from janusflow.inference.drawing.reading import read_texts
from janusflow.inference.drawing.sampling import (
    DrawingSettings,
    draw_latents,
    guided_velocity,
)
from janusflow.inference.pipeline import JanusFlow


@torch.no_grad()
def interpolate(
    jf: JanusFlow,
    prompts: tuple[str, str],
    seeds: tuple[int, int],
    *,
    frames: int = 9,
    settings: DrawingSettings | None = None,
    batch_size: int | None = None,
) -> list[Image.Image]:
    """Draw `frames` images, the first of the first prompt and seed, the last of the last.

    Args:
        jf: the model.
        prompts: planned as `jf.generate` plans them, with each end's seed; where both ends read the
            same, that halves the work.
        seeds: twice the same, and all images begin with one noise.
        frames: evenly spread, both ends included.
        settings: None is the defaults.
        batch_size: images drawn side by side.

    Raises:
        ConfigError: both ends are the same, fewer than two frames, or settings of several drawings.
    """
    settings = DrawingSettings() if settings is None else settings
    _check(prompts, seeds, frames, settings)
    flow, device = jf.model.config.generation, jf.model.device
    shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
    texts = list(dict.fromkeys(_planned(jf, prompts, seeds, settings)))
    read = read_texts(jf.model, jf.processor, texts, is_guided=settings.is_guided)
    ends = sample_noise(shape, seeds=list(seeds), device=device)
    images: list[Image.Image] = []
    for shares in torch.linspace(0, 1, frames).split(batch_size_for(settings, batch_size)):
        rows = [row for row in range(len(texts)) for _ in shares]
        velocity = guided_velocity(
            jf.model,
            read.select(rows),
            guidance=settings.guidance,
            rescale=settings.guidance_rescale,
        )
        if len(texts) > 1:
            velocity = with_mixture(velocity, share=shares)
        noise = torch.stack([spherical(ends[0], ends[1], share) for share in shares.tolist()])
        latents = draw_latents(velocity, noise, settings=settings)
        images += decode_latents(jf.vae, latents.to(jf.vae.device))
    return images


def _planned(
    jf: JanusFlow, prompts: tuple[str, str], seeds: tuple[int, int], settings: DrawingSettings
) -> list[str]:
    if not plans_first(settings, has_learnt=jf.model.config.plans, has_original=False):
        return list(prompts)
    return jf.plan(prompts, seeds)


def _check(
    prompts: tuple[str, str], seeds: tuple[int, int], frames: int, settings: DrawingSettings
) -> None:
    if prompts[0] == prompts[1] and seeds[0] == seeds[1]:
        raise ConfigError(
            f"interpolating from {prompts[0]!r} and seed {seeds[0]} to the same: give another "
            "prompt or another seed to end with."
        )
    if frames < 2:
        raise ConfigError(f"frames={frames}: both ends make 2 already. Use more.")
    is_upscaled = settings.upscale != NONE
    if settings.best_of > 1 or settings.reuse > 0.0 or is_upscaled:
        raise ConfigError(
            f"interpolating with best_of={settings.best_of}, reuse={settings.reuse}, "
            f"upscale={settings.upscale}: of images on one way none is chosen, every velocity is "
            "evaluated, and they keep their size. Leave them out."
        )
