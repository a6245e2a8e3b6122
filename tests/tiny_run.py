"""What a training run of `mini` is made of, small enough for unit tests: 16 tokens an image.

Everything is real (rendered scenes, a trained tokenizer, the model with its REPA head) but tiny.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tokenizers import Tokenizer
from torch import Tensor

from janusflow.config.data import SourceConfig
from janusflow.data.batches.collate import Collator
from janusflow.data.batches.mixture import Kind
from janusflow.data.samples import Sample
from janusflow.data.sources.base import WeightedSource
from janusflow.mini.scenes.dataset import SceneFolder, write_scenes
from janusflow.mini.training.sources import (
    SceneTexts,
    pixel_values,
    scene_drawings,
    scene_questions,
    unrendered,
)
from janusflow.mini.training.tokenizer import mini_processor, train_tokenizer
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

VOCAB_SIZE = 600
NUM_SCENES = 12
NUM_IMAGE_TOKENS = 16
LATENT_SHAPE = (4, 8, 8)

LLM = {
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
MODEL = {
    "llm_config": LLM,
    "generation": {"latent_size": 8, "width": 16, "num_encoder_blocks": 1, "kernel_size": 3},
    "repa": {"block": 1, "hidden_size": 24},
    "vae": "vae",
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "image_token_id": 3,
    "image_start_token_id": 5,
    "image_end_token_id": 6,
}
VAE = {
    "block_out_channels": [4, 4, 4, 4],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 2,
    "mid_block_add_attention": False,
    "sample_size": 64,
}


@cache
def trained_tokenizer() -> Tokenizer:
    """Byte-level BPE over a few hundred texts."""
    return train_tokenizer(vocab_size=VOCAB_SIZE, num_texts=200, seed=0)


@cache
def run_processor() -> JanusFlowProcessor:
    return mini_processor(trained_tokenizer(), image_size=64, num_image_tokens=NUM_IMAGE_TOKENS)


def run_model(*, seed: int = 0, has_repa: bool = True) -> JanusFlowForConditionalGeneration:
    """A new model; parameters that start at zero are moved, so that each has an effect."""
    settings = {**MODEL, "vision_config": {"model_type": "siglip_vision_model", **VISION}}
    if not has_repa:
        settings["repa"] = None
    torch.manual_seed(seed)
    model = JanusFlowForConditionalGeneration(JanusFlowConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


def run_vae() -> AutoencoderKL:
    """A random VAE for the model's latents."""
    torch.manual_seed(0)
    return AutoencoderKL(**VAE, scaling_factor=0.4).eval()


class TinySources:
    """A few rendered scenes with made-up latents, as the mixture takes them and one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scenes = SceneFolder(folder)
        config = SourceConfig(format="scenes", path=str(folder))
        drawn = SourceConfig(
            format="scenes", path=str(folder), options={"latents": str(folder / "latents.npy")}
        )
        self.by_kind: dict[Kind, list[WeightedSource]] = {
            "understanding": scene_questions(config),
            "generation": scene_drawings(drawn),
            "text": unrendered(SceneTexts, config),
        }

    def draw(self, kind: Kind, rng: np.random.Generator) -> Sample:
        """A sample of any row."""
        ((source, _),) = self.by_kind[kind]
        return source.sample(int(rng.integers(len(source))), rng)

    def pixels(self, row: int) -> Tensor:
        return pixel_values(self.scenes.images[row][None])[0]


def make_sources(folder: Path) -> TinySources:
    """Render and open scenes."""
    write_scenes(folder, num_scenes=NUM_SCENES, size=64, seed=0)
    latents = np.random.default_rng(1).standard_normal((NUM_SCENES, *LATENT_SHAPE))
    np.save(folder / "latents.npy", latents.astype(np.float16))
    return TinySources(folder)


def make_collator(model: JanusFlowForConditionalGeneration, *, row_tokens: int = 400) -> Collator:
    return Collator(trained_tokenizer(), model.config, row_tokens=row_tokens)


def draw(sources: TinySources, *kinds: Kind, seed: int = 0) -> list[Sample]:
    """One sample of each named kind."""
    rng = np.random.default_rng(seed)
    return [sources.draw(kind, rng) for kind in kinds]
