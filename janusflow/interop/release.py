"""The sizes of the release, JanusFlow-1.3B, for where its files are not at hand.

They are the defaults of `JanusFlowConfig`, and the VAE's configuration; no weights.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from janusflow.config.model import RepaConfig
from janusflow.interop.hub import CONFIG
from janusflow.interop.vae import SUBFOLDER
from janusflow.model.configuration import JanusFlowConfig

RELEASE = "janusflow-1.3b"
"""What commands call these sizes."""

VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
"""stabilityai/sdxl-vae."""


def release_config(*, repa: RepaConfig | None = None) -> JanusFlowConfig:
    """Our configuration of the release; it has no REPA head, training gives it one."""
    return JanusFlowConfig(repa=repa, dtype="bfloat16")


def vae_at_hand(folders: Sequence[Path | None]) -> AutoencoderKL | None:
    """The first VAE whose configuration is in one of the folders or its `vae/`, without memory."""
    for folder in folders:
        for candidate in (folder / SUBFOLDER, folder) if folder is not None else ():
            path = candidate / CONFIG
            if path.is_file():
                settings = json.loads(path.read_text(encoding="utf-8"))
                if "block_out_channels" in settings:
                    return vae_on_meta(settings)
    return None


def vae_on_meta(settings: dict[str, Any] | None = None) -> AutoencoderKL:
    """A VAE of names and shapes alone (meta device), by default the release's."""
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(VAE if settings is None else settings)
    return cast(AutoencoderKL, vae).eval()
