"""Images on the way from one drawing to another: between seeds, between prompts, or both.

Seeds: noises are walked along their arc (flow/interpolation.py). Prompts: their velocities are
mixed at every step. What the LLM makes of two prompts has no common shape, for they differ in
tokens and in number of tokens; velocities do, and at both ends they are exactly one prompt's.
"""

import torch
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.config.guidance import schedule_of
from janusflow.config.upscaling import NONE
from janusflow.flow import run_sampler, spherical
from janusflow.inference.drawing.batches import GenerationRequest
from janusflow.inference.drawing.best_of import Pipeline
from janusflow.inference.drawing.generation import noise_of, prepare_request
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts
from janusflow.inference.drawing.sampling import DrawingSettings, image_sampler


@torch.no_grad()
def interpolate(
    jf: Pipeline,
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
        PromptError: a prompt is longer than the model's context.
    """
    settings = DrawingSettings() if settings is None else settings
    _check(prompts, seeds, frames, settings)
    request = GenerationRequest(
        prompts=prompts, seed=seeds, settings=settings, batch_size=batch_size
    )
    request, ends = prepare_request(jf, request)
    texts = list(request.prompts)
    if request.settings.plan == "always":
        texts = jf.plan(texts, seeds)
    first, last = noise_of(jf, ends)
    texts = list(dict.fromkeys(texts))
    is_guided = schedule_of(settings.guidance).is_guided
    encoding = encode_texts(jf.model, jf.processor, texts, is_guided=is_guided)
    images: list[Image.Image] = []
    for shares in torch.linspace(0, 1, frames).split(request.batch_size or frames):
        noise = torch.stack([spherical(first, last, share) for share in shares.tolist()])
        share = shares if len(texts) > 1 else None
        sampler = image_sampler(noise, settings, share=share)
        velocity = PromptVelocity(jf.model, encoding, [texts] * len(shares))
        images += decode_latents(jf.vae, run_sampler(sampler, velocity).float())
    return images


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
