"""Pixels to tensors and back, for both halves of the model.

Seeing: `JanusFlowImageProcessor` does what the release's does, to the byte: longer side to the
tower's size with bicubic sampling on bytes, the rest padded in the mean colour, rescaled in
float64, normalised in float32. Drawing: `crop_for_generation` and `to_latent_range` make what the
VAE encodes, `to_images` turns what it decodes into images.

Pillow resizes, so torchvision is neither needed nor touched. Files are opened by
`image_files.py`, which see.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from janusflow.config.errors import ConfigError
from janusflow.processing.image_files import MAX_PIXELS, ImageInput, open_image

__all__ = [
    "MAX_PIXELS",
    "Image",
    "JanusFlowImageProcessor",
    "crop_for_generation",
    "open_image",
    "to_images",
    "to_latent_range",
]

EIGHT_BIT_MAX = 255
NO_MEAN_BACKGROUND = (127, 127, 127)


class JanusFlowImageProcessor(BaseImageProcessor):
    """Images of any size to the understanding tower's square input.

    Reads and writes `preprocessor_config.json`, the release's included; keys it does not know are
    kept and written again.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 (transformers reads a plain list)

    def __init__(
        self,
        image_size: int = 384,
        min_size: int = 14,
        image_mean: Sequence[float] | None = (0.5, 0.5, 0.5),
        image_std: Sequence[float] | None = (0.5, 0.5, 0.5),
        rescale_factor: float = 1 / EIGHT_BIT_MAX,
        do_normalize: bool = True,
        **others: Any,  # keys of a file that this class does not know
    ) -> None:
        if image_size < min_size or min_size < 1:
            raise ConfigError(
                f"got image_size={image_size} and min_size={min_size}: the image's shorter side "
                f"is at least min_size, so use 1 <= min_size <= {image_size}"
            )
        if do_normalize and (image_mean is None or image_std is None):
            raise ConfigError(
                f"do_normalize=true with image_mean={image_mean} and image_std={image_std}: give "
                "both or set do_normalize=false"
            )
        # Like the release: the padding colour follows the mean, whatever the file says.
        others.pop("background_color", None)
        super().__init__(**others)
        self.image_size = image_size
        self.min_size = min_size
        self.image_mean = None if image_mean is None else list(image_mean)
        self.image_std = None if image_std is None else list(image_std)
        self.rescale_factor = rescale_factor
        self.do_normalize = do_normalize
        self.background_color = list(
            NO_MEAN_BACKGROUND
            if image_mean is None
            else (int(mean * EIGHT_BIT_MAX) for mean in image_mean)
        )

    def __call__(self, images: ImageInput | Sequence[ImageInput], **options: Any) -> BatchFeature:
        """The same as `preprocess`, in the form transformers' users expect."""
        options.pop("return_tensors", None)  # always torch tensors
        if options:
            raise ConfigError(
                f"got {', '.join(sorted(options))} for one call: this image processor has no "
                "options per call; make another JanusFlowImageProcessor with other settings"
            )
        return BatchFeature({"pixel_values": self.preprocess(images)})

    def preprocess(self, images: ImageInput | Sequence[ImageInput]) -> Float[Tensor, "n c y x"]:
        """What the tower sees of each image, in order."""
        images = [images] if isinstance(images, ImageInput) else images
        if len(images) == 0:
            return torch.zeros(0, 3, self.image_size, self.image_size)
        return torch.stack([self._normalised(self.square(image)) for image in images])

    def square(self, image: ImageInput) -> Image.Image:
        """The image fitted into a square of the tower's size, before it becomes numbers."""
        image = open_image(image)
        width, height = image.size
        longer = max(width, height)
        # Division first and truncation: the release's order, which decides odd sizes.
        width = max(int(width / longer * self.image_size), self.min_size)
        height = max(int(height / longer * self.image_size), self.min_size)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        if width == height:
            return image
        side = max(width, height)
        canvas = Image.new("RGB", (side, side), tuple(self.background_color))
        canvas.paste(image, ((side - width) // 2, (side - height) // 2))
        return canvas

    def to_image(self, pixel_values: Float[Tensor, "c y x"]) -> Image.Image:
        """An image that `preprocess` made numbers of, as pixels again."""
        scaled = pixel_values.double()
        if self.do_normalize:
            mean, std = (
                torch.tensor(of_channel, dtype=torch.float64)[:, None, None]
                for of_channel in (self.image_mean, self.image_std)
            )
            scaled = scaled * std + mean
        levels = (scaled / self.rescale_factor).round().clamp(0, EIGHT_BIT_MAX)
        return Image.fromarray(levels.to(torch.uint8).permute(1, 2, 0).numpy())

    def _normalised(self, square: Image.Image) -> Float[Tensor, "c y x"]:
        scaled = (np.asarray(square) * self.rescale_factor).astype(np.float32)  # float64 till here
        if self.do_normalize:
            mean = np.asarray(self.image_mean, dtype=np.float32)
            scaled = (scaled - mean) / np.asarray(self.image_std, dtype=np.float32)
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def crop_for_generation(
    image: Image.Image,
    *,
    size: int,
    rng: np.random.Generator | None = None,
    place: float = 0.5,
) -> Image.Image:
    """A size x size piece that spans the shorter side.

    At random with `rng`, else at `place` along the longer side: 0 is its begin, 0.5 the centre.
    """
    shorter = min(image.size)
    # round() could fall below the crop only by float error, never by more than a pixel.
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if rng is None:
        left, top = (int(place * spare) for spare in (width - size, height - size))
    else:
        left, top = (int(rng.integers(spare + 1)) for spare in (width - size, height - size))
    return image.crop((left, top, left + size, top + size))


def to_latent_range(image: Image.Image) -> Float[Tensor, "c y x"]:
    """An RGB image as the VAE wants it: 0 becomes -1, 255 becomes 1."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (pixels / EIGHT_BIT_MAX * 2 - 1).permute(2, 0, 1).contiguous()  # c y x


def to_images(decoded: Float[Tensor, "b c y x"]) -> list[Image.Image]:
    """What the VAE decoded as RGB images: clipped to [-1, 1], rounded to the nearest level."""
    levels = (decoded.detach().float().clamp(-1, 1) + 1) / 2 * EIGHT_BIT_MAX
    pixels = levels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # b y x c
    return [Image.fromarray(image) for image in pixels]
