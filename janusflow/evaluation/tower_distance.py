"""How far drawn pictures are from true ones, in the eyes of `mini`'s own tower.

The Frechet distance of FID (Heusel et al. 2017), on another network: the SigLIP tower that ships
with `mini`, a picture being the mean of its patch features. Numbers compare with one another
only, not with any FID, and only where the tower and the number of pictures are the same. Models
that were trained with this tower (`mini` is, by REPA too) may be flattered by it.
"""

import base64
from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from janusflow.evaluation.runner import fingerprint
from janusflow.inference.loading import load_model, mini_folder
from janusflow.processing.processor import JanusFlowProcessor

BATCH_SIZE = 100
KEPT = np.dtype("<f2")
"""Features are about 1 in size, and rounding them to 11 bits moves no distance."""


class Tower:
    """`mini`'s tower on the CPU in float32, loaded when it is first needed."""

    @cached_property
    def _network(self) -> torch.nn.Module:
        model = load_model(mini_folder(), dtype=torch.float32, device=torch.device("cpu"))
        return model.understanding_encoder

    @cached_property
    def _processor(self) -> JanusFlowProcessor:
        return JanusFlowProcessor.from_pretrained(mini_folder())

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights: distances by another tower are others."""
        return fingerprint(SimpleNamespace(model=self._network))

    @torch.no_grad()
    def features(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "n w"]:
        """The mean patch feature of every picture, float32."""
        preprocess = self._processor.image_processor
        means = [
            self._network(**preprocess(list(pictures[start : start + BATCH_SIZE])))
            .last_hidden_state.mean(1)
            .numpy()
            for start in range(0, len(pictures), BATCH_SIZE)
        ]
        return np.concatenate(means)


def as_text(features: Float[np.ndarray, " w"]) -> str:
    """A picture's features as a row of answers keeps them: base64 of little-endian float16."""
    return base64.b64encode(features.astype(KEPT).tobytes()).decode()


def from_texts(texts: Sequence[str]) -> Float[np.ndarray, "n w"]:
    """Kept features of many pictures, float64."""
    return np.stack([np.frombuffer(base64.b64decode(text), KEPT) for text in texts]).astype(float)


def frechet_distance(a: Float[np.ndarray, "n w"], b: Float[np.ndarray, "m w"]) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances; in float64.

    It is that of two normal distributions, and at least two pictures a set have one. Few pictures
    make it larger than it is: the covariances of two samples differ even where their sources agree.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    offset = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    # A^(1/2) B A^(1/2) is symmetric and has the eigenvalues of A B.
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0.0)).sum()
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2.0 * shared)
