"""From words to an upscaler: a function from images to larger ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.config.upscaling import Upscaling, read_upscaling
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.upscaling.realesrgan import enlarged, load_realesrgan
from janusflow.inference.upscaling.refinement import refined, resized

Upscaler: TypeAlias = Callable[[Sequence[Image.Image]], list[Image.Image]]
"""From RGB images to larger ones."""


def make_upscaler(
    text: str, *, vae: AutoencoderKL | None, device: torch.device, show: bool = False
) -> Upscaler:
    """Get ready what the method needs; weights that it needs are fetched unless they were.

    What images know of how they were drawn stays with them, and how they were made larger is
    added to it.

    Args:
        text: method and factor, or `none` (config/upscaling.py).
        vae: only `refine` needs one, on its own device.
        device: of Real-ESRGAN: any but the CPU lets ncnn use Vulkan, if it finds it.
        show: bars on stderr.

    Raises:
        ConfigError: there is no such method, or it has no such factor.
        DataError: weights cannot be fetched, or ncnn is not installed.
    """
    how = read_upscaling(text)
    if how is None:
        return list
    enlarge = _enlarger(how, vae=vae, device=device, show=show)
    return lambda images: [_with_record(enlarge(each), each, how) for each in images]


def _enlarger(
    how: Upscaling, *, vae: AutoencoderKL | None, device: torch.device, show: bool
) -> Callable[[Image.Image], Image.Image]:
    match how.method:
        case "lanczos":
            return partial(resized, factor=how.factor)
        case "refine":
            assert vae is not None, "whoever asks for refine has loaded a model"
            return partial(refined, vae=vae)
        case _:
            return partial(enlarged, network=load_realesrgan(how, device), show=show)


def _with_record(large: Image.Image, small: Image.Image, how: Upscaling) -> Image.Image:
    record = record_of(small)
    if record is None:
        return large
    before = f"{record.upscale} " if record.upscale else ""
    return replace(record, upscale=before + how.text).attach(large)
