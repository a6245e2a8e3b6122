"""Pictures from files to what the model's two halves take (paper section 4.1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from janusflow.processing.images import (
    JanusFlowImageProcessor,
    crop_for_generation,
    to_latent_range,
)
from janusflow.processing.picture_files import Picture, open_image


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures become tensors for one model."""

    image_processor: JanusFlowImageProcessor
    drawing_size: int
    """Rows and columns of a picture to draw, in pixels."""
    image_tag: str
    """Stands for a picture in a question."""

    def seen(self, picture: Picture) -> Float[Tensor, "c y x"]:
        """A picture to understand: all of it, padded to a square."""
        return self.image_processor.preprocess(picture)[0]

    def drawn(self, picture: Picture, rng: np.random.Generator) -> Float[Tensor, "c y x"]:
        """A picture to draw: its shorter side fitted, a square cut out at random."""
        crop = crop_for_generation(open_image(picture), size=self.drawing_size, rng=rng)
        return to_latent_range(crop)
