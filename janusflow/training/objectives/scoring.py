"""Frozen scorers: one vector an image, or a prompt; an image and what it shows point alike.

Images come in [-1, 1] from the VAE's decoder. Gradients flow through a scorer, never into it.
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin

from janusflow.config.errors import CheckpointError
from janusflow.config.training import ObjectiveConfig
from janusflow.interop.hub import find_folder
from janusflow.model.modeling import JanusFlowForConditionalGeneration

PAIR_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What a CLIP or SigLIP pair consists of, its tokenizer included."""


class TowerScorer(nn.Module):
    """The model's understanding tower as it is now, copied: training the tower leaves it alone."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        super().__init__()
        self.tower = copy.deepcopy(model.understanding_encoder).requires_grad_(False)

    def image_features(self, pixel_values: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b w"]:
        """The mean of the tower's patch features."""
        resized = _resized(pixel_values, cast(int, self.tower.config.image_size))
        return self.tower(resized.to(self.tower.dtype)).last_hidden_state.mean(1)


class PairScorer(nn.Module):
    """A CLIP or SigLIP pair of encoders from `transformers`: pooled features of both halves.

    Raises:
        CheckpointError: the folder or hub id holds no such pair.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, where: str) -> None:
        super().__init__()
        folder = find_folder(where, files=PAIR_FILES)
        try:
            self.pair: Any = AutoModel.from_pretrained(folder, dtype=torch.float32)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            settings, _ = ImageProcessingMixin.get_image_processor_dict(folder)
            mean, std = settings["image_mean"], settings["image_std"]
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(
                f"{where} holds no pair of encoders that transformers can load ({reason}): name "
                "the folder or hub id of a CLIP or SigLIP."
            ) from error
        if not hasattr(self.pair, "get_text_features"):
            raise CheckpointError(
                f"{where} holds a {type(self.pair).__name__}: wanted a CLIP or SigLIP with both of "
                "its halves."
            )
        self.pair.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def image_features(self, pixel_values: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b w"]:
        """The image half's, of images resized and normalised as it learnt them."""
        resized = _resized(pixel_values, self.pair.config.vision_config.image_size)
        normalised = ((resized + 1) / 2 - self.mean) / self.std
        return self.pair.get_image_features(pixel_values=normalised).pooler_output

    def prompt_features(self, prompts: Sequence[str]) -> Float[Tensor, "b w"]:
        """The text half's; long prompts are cut."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",  # SigLIP learnt texts so, and CLIP does not mind
            truncation=True,
            max_length=self.pair.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        return self.pair.get_text_features(**tokens.to(self.pair.device)).pooler_output


def load_scorer(
    config: ObjectiveConfig, model: JanusFlowForConditionalGeneration
) -> TowerScorer | PairScorer | None:
    """The scorer an objective asks for, if it asks for one."""
    if config.alignment != "score":
        return None
    return TowerScorer(model) if config.scorer is None else PairScorer(config.scorer)


def _resized(pixel_values: Float[Tensor, "b 3 y x"], size: int) -> Float[Tensor, "b 3 size size"]:
    return nn.functional.interpolate(
        pixel_values.float(), (size, size), mode="bilinear", antialias=True
    )
