"""The VAE between images and latents: `diffusers`' AutoencoderKL, beside the weights."""

import math
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils import logging
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.interop.conversion import refuse_differences
from janusflow.interop.hub import CONFIG, OFFICIAL_VAE, VAE_FILES, find_folder, model_in
from janusflow.processing.json_files import read_json

SUBFOLDER = "vae"


def load_vae(
    where: str | Path | None = None,
    *,
    beside: Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> AutoencoderKL:
    """Load a VAE from a folder, or the one that goes with a model.

    Args:
        where: the VAE's folder or hub id, or the name of a model (mini, folder, run, hub id); None
            for the release's, stabilityai/sdxl-vae.
        beside: the model's folder: its `vae/` is used if `where` names nothing else, and a
            relative `where` is looked for in it first.

    Raises:
        ConfigError: float16 was asked for.
        CheckpointError: there is no VAE there, or it cannot be downloaded from here.
    """
    if dtype == torch.float16:
        raise ConfigError(
            f"got dtype={dtype} for the VAE: its activations overflow float16 (black images). "
            "Use bfloat16 or float32."
        )
    folder = find_vae(where, beside=beside)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would warn of is refused below
    try:
        loaded: Any = AutoencoderKL.from_pretrained(
            folder,
            torch_dtype=dtype,
            local_files_only=True,
            low_cpu_mem_usage=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        vae, info = loaded
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{folder}: not a readable AutoencoderKL ({reason}): pass a folder in diffusers' "
            "layout (config.json, diffusion_pytorch_model.safetensors)."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    refuse_differences(
        missing=info["missing_keys"],
        unused=info["unexpected_keys"],
        mis_shaped=[
            f"{name} {list(found)} instead of {list(wanted)}"
            for name, found, wanted in info["mismatched_keys"]
        ],
        where=str(folder),
    )
    placed: Any = vae  # diffusers decorates `to` in a way its own types do not allow
    return placed.to(device).eval()


def encode_images(
    vae: AutoencoderKL, pixel_values: Float[Tensor, "b 3 y_pixel x_pixel"]
) -> Float[Tensor, "b c y x"]:
    """Images in [-1, 1] to the mean of their latents, scaled to about unit variance, float32."""
    scale, shift = _scale_and_shift(vae)
    (posterior,) = vae.encode(pixel_values.to(vae.device, vae.dtype), return_dict=False)
    return (posterior.mean.float() - shift) * scale


def decode_images(
    vae: AutoencoderKL, latents: Float[Tensor, "b c y x"]
) -> Float[Tensor, "b 3 y_pixel x_pixel"]:
    """Latents of about unit variance to images, about in [-1, 1]; gradients flow through."""
    scale, shift = _scale_and_shift(vae)
    unscaled: Any = latents.to(vae.dtype) / scale + shift  # diffusers types it a FloatTensor
    decoded: Any = vae.decode(unscaled)
    return decoded.sample


def psnr(found: Float[Tensor, "n c y x"], wanted: Float[Tensor, "n c y x"]) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], clipped; of equal images inf."""
    error = float((found.clamp(-1, 1) - wanted).square().mean())
    return 10 * math.log10(2**2 / error) if error else math.inf


def _scale_and_shift(vae: AutoencoderKL) -> tuple[float, float]:
    """What latents are multiplied by, and what is subtracted before; the SDXL VAE has no shift."""
    return float(vae.config["scaling_factor"]), float(vae.config.get("shift_factor") or 0.0)


def find_vae(where: str | Path | None, *, beside: Path | None = None) -> Path:
    """The VAE's folder; the arguments are those of `load_vae`."""
    if beside is not None:
        for folder in (beside / where if where else None, beside / SUBFOLDER):
            if folder is not None and (folder / CONFIG).is_file():
                return folder
        if where == SUBFOLDER:
            raise CheckpointError(
                f"{beside}: no VAE in its {SUBFOLDER}/, where the config.json says it is: copy it "
                "there, or name a folder or hub id (vae=)."
            )
    folder = find_folder(where or OFFICIAL_VAE, files=VAE_FILES)
    model = model_in(folder) or folder
    inside = model / SUBFOLDER
    if (inside / CONFIG).is_file():
        return inside
    named = vae_of_model(model)
    return folder if named is None else find_vae(named, beside=model)


def vae_of_model(folder: Path) -> str | None:
    """The VAE that a model folder's config.json names; None where it is no model's."""
    path = folder / CONFIG
    settings = read_json(path) if path.is_file() else {}
    return str(settings.get("vae") or OFFICIAL_VAE) if "model_type" in settings else None
