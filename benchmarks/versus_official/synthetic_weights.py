"""Model folders in the release's layout with synthetic weights: written once, then reused.

Every weight is a function of its name, its shape and SEED: close to 1 for the scales of norms,
normal with a standard deviation of 0.1 for response norms and 0.02 otherwise, so that activations
stay as sane as a new network's. Nothing drawn or said with them means anything.
"""

import shutil
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from janusflow.interop.conversion import Shape, official_shapes, shapes_of
from janusflow.interop.hub import MINI, find_folder
from janusflow.interop.load import StoredWeights, fill, on_meta
from janusflow.interop.release import VAE, release_config
from janusflow.interop.release_config import config_from_official
from janusflow.interop.release_layout import TOWERS, release_settings
from janusflow.interop.saving import save_official
from janusflow.interop.tokens import read_token_ids
from janusflow.interop.vae import SUBFOLDER
from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.processing.processor import JanusFlowProcessor

SEED = 20241112
NORM_SUFFIXES = ("norm.weight", "norm1.weight", "norm2.weight", "layernorm.weight")


@dataclass(frozen=True, kw_only=True)
class Size:
    """A network of the release's make; widths are the release's unless said otherwise."""

    llm_layers: int = 24
    tower_layers: int = -1
    """As the release counts: -1 is all."""
    vocabulary: int = 102400
    llm_width: int = 2048
    llm_inner_width: int = 5632
    llm_heads: int = 16
    path_width: int = 768
    image_size: int = 384
    vae_widths: tuple[int, ...] = VAE["block_out_channels"]


SIZES = {
    "scaled": Size(llm_layers=4, tower_layers=4, vocabulary=16384, vae_widths=(32, 64, 128, 128)),
    "full": Size(),
}
"""scaled: the release's widths in 4 layers; vocabulary and VAE are smaller too."""


class SyntheticWeights:
    """Stands for the weight files of a release."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes

    def read(self, name: str) -> Tensor:
        """The weight of this name."""
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + SEED)
        values = torch.randn(self.shapes[name], generator=generator)
        if ".channelwise_norm." in name:
            return values.mul_(0.1)
        return values.mul_(0.1).add_(1) if name.endswith(NORM_SUFFIXES) else values.mul_(0.02)


def settings_of(size: Size) -> dict[str, Any]:
    """The release's settings with another size in them."""
    settings = release_settings(release_config())
    settings["language_config"] |= {
        "hidden_size": size.llm_width,
        "intermediate_size": size.llm_inner_width,
        "num_attention_heads": size.llm_heads,
        "num_hidden_layers": size.llm_layers,
        "num_key_value_heads": size.llm_heads,
        "vocab_size": size.vocabulary,
    }
    for half in ("vision_gen_enc_config", "vision_gen_dec_config"):
        settings[half]["params"] |= {
            "hidden_size": size.llm_width,
            "block_out_channels": [size.path_width],
        }
    settings["vision_gen_dec_config"]["params"]["in_channels"] = size.path_width
    settings["vision_und_enc_config"]["params"] |= {
        "image_size": size.image_size,
        "select_layer": size.tower_layers,
    }
    return settings


def ensure_folder(folder: Path, size: Size) -> None:
    """Write the folder if it is not there; it appears whole or not at all."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write_folder(unfinished, size)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_folder(folder: Path, size: Size) -> None:
    """Write a model, its VAE, and its processor with `mini`'s tokenizer, as the release does."""
    _processor(size).save_release_layout(folder)
    config = config_from_official(settings_of(size), token_ids=read_token_ids(folder))
    config.official = None  # so that every key is written
    model = on_meta(config)
    synthetic = SyntheticWeights(official_shapes(shapes_of(model)))
    weights = StoredWeights(synthetic.shapes, synthetic.read)
    fill(model, weights.read(weights.names), dtype=torch.bfloat16)
    save_official(model, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        vae: Any = AutoencoderKL.from_config({**VAE, "block_out_channels": size.vae_widths})
    cast(AutoencoderKL, vae).save_pretrained(folder / SUBFOLDER)


def _processor(size: Size) -> JanusFlowProcessor:
    """Texts by `mini`'s tokenizer, images as the release takes them."""
    mini = JanusFlowProcessor.from_pretrained(find_folder(MINI))
    (tower,) = TOWERS.values()
    return JanusFlowProcessor(
        JanusFlowImageProcessor(
            image_size=size.image_size, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        mini.tokenizer,
        num_image_tokens=(size.image_size // tower.patch_size) ** 2,
    )
