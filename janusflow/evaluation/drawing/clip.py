"""The CLIP score: how well an image fits its prompt (Hessel et al. 2021)."""

from typing import Any

import torch
from PIL import Image

from janusflow.config.errors import CheckpointError
from janusflow.inference.loading import choose_device


class ClipScorer:
    """A CLIP model that scores images."""

    def __init__(self, name: str) -> None:
        """Load it.

        Args:
            name: a folder or a hub id of a CLIP in transformers' format.

        Raises:
            CheckpointError: there is none.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        try:
            model: Any = CLIPModel.from_pretrained(name, dtype=torch.float32)
            self._images = CLIPImageProcessorPil.from_pretrained(name)
            self._tokenizer = CLIPTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"--clip {name}: got no CLIP there ({reason}). Name a folder or a hub id such as "
                "openai/clip-vit-large-patch14."
            ) from None
        self._model = model.to(choose_device("auto")).eval()

    @torch.no_grad()
    def __call__(self, image: Image.Image, prompt: str) -> float:
        """100 times the cosine between image and prompt, at least 0; NaN stays NaN.

        What is beyond CLIP's longest text, 77 tokens, is not read.
        """
        words = self._tokenizer(
            [prompt],
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        pixels = self._images([image], return_tensors="pt")
        device = self._model.device
        embedded = self._model(**words.to(device), **pixels.to(device))
        cosine = torch.cosine_similarity(embedded.image_embeds, embedded.text_embeds)
        return float((100 * cosine).clamp(min=0.0))
