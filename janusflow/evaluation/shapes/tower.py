"""What `mini`'s own tower sees in an image: the features by which ShapesEval compares sets.

The SigLIP tower that ships with `mini`, an image being the mean of its patch features. Distances
compare with one another only, not with any FID, and only where the tower and the number of images
are the same. Models that were trained with this tower (`mini` is, by REPA too) may be flattered.
"""

import base64
from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from janusflow.evaluation.core.runner import fingerprint
from janusflow.interop.hub import MINI, find_folder
from janusflow.interop.load import load_model
from janusflow.processing.processor import JanusFlowProcessor

BATCH_SIZE = 100
KEPT = np.dtype("<f2")
"""Features are about 1 in size, and rounding them to 11 bits moves no distance."""


class Tower:
    """`mini`'s tower on the CPU in float32, loaded when it is first needed."""

    @cached_property
    def _network(self) -> torch.nn.Module:
        model = load_model(find_folder(MINI), dtype=torch.float32, device=torch.device("cpu"))
        return model.understanding_encoder

    @cached_property
    def _processor(self) -> JanusFlowProcessor:
        return JanusFlowProcessor.from_pretrained(find_folder(MINI))

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights: distances by another tower are others."""
        return fingerprint(SimpleNamespace(model=self._network))

    @torch.no_grad()
    def features(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "n w"]:
        """The mean patch feature of every image, float32."""
        preprocess = self._processor.image_processor
        means = [
            self._network(**preprocess(list(images[start : start + BATCH_SIZE])))
            .last_hidden_state.mean(1)
            .numpy()
            for start in range(0, len(images), BATCH_SIZE)
        ]
        return np.concatenate(means)


def as_text(features: Float[np.ndarray, " w"]) -> str:
    """An image's features as a row of answers keeps them: base64 of little-endian float16."""
    return base64.b64encode(features.astype(KEPT).tobytes()).decode()


def from_texts(texts: Sequence[str]) -> Float[np.ndarray, "n w"]:
    """Kept features of many images, float64."""
    return np.stack([np.frombuffer(base64.b64decode(text), KEPT) for text in texts]).astype(float)
