"""The sizes of the release, JanusFlow-1.3B, for where its files are not at hand.

What the release's config.json says, and its tokenizer's ids (tokens.py); no weights.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from janusflow.config.model import RepaConfig
from janusflow.interop.hub import CONFIG
from janusflow.interop.release_config import OFFICIAL_MODEL_TYPE, config_from_official
from janusflow.interop.tokens import TokenIds
from janusflow.interop.vae import SUBFOLDER
from janusflow.model.configuration import JanusFlowConfig

RELEASE = "janusflow-1.3b"
"""What commands call these sizes."""

LLM_WIDTH, PATH_WIDTH = 2048, 768
PATH = {
    "block_out_channels": [PATH_WIDTH],
    "hidden_size": LLM_WIDTH,
    "layers_in_middle": 2,
    "norm_eps": 1e-6,
    "use_bias": True,
    "use_mid_block": True,
}
SETTINGS: dict[str, Any] = {
    "model_type": OFFICIAL_MODEL_TYPE,
    "torch_dtype": "bfloat16",
    "language_config": {
        "model_type": "llama",
        "hidden_size": LLM_WIDTH,
        "intermediate_size": 5632,
        "max_position_embeddings": 16384,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "num_key_value_heads": 16,
        "vocab_size": 102400,
    },
    "vision_und_enc_config": {
        "params": {
            "image_size": 384,
            "model_name": "siglip_large_patch16_384",
            "select_feature": "same",
            "select_layer": -1,
        }
    },
    "vision_gen_enc_config": {
        "params": {**PATH, "input_channels": 4, "kernel_size": 2, "stride": 2, "padding": 0}
    },
    "vision_gen_dec_config": {
        "params": {**PATH, "in_channels": PATH_WIDTH, "out_channels": 4, "upsamples": 1}
    },
}
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
    config = config_from_official(SETTINGS, token_ids=TokenIds())
    if repa is not None:
        config.repa = repa
    return config


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
