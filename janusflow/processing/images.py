"""Pixels to tensors and back, for both halves of the model.

Understanding: `JanusFlowImageProcessor` does what the release's does, to the byte: longer side to
the tower's size with bicubic sampling on bytes, the rest padded in the mean colour, rescaled in
float64, normalised in float32. Drawing: `crop_for_generation` and `to_latent_range` make what the
VAE encodes, `to_images` turns what it decodes into images.

Pillow resizes, so torchvision is neither needed nor touched. Files are opened by `image_files.py`,
which see.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import ChannelDimension, SizeDict
from transformers.processing_utils import ImagesKwargs

from janusflow.config.errors import ConfigError
from janusflow.processing.image_files import ArrayLike, ImageInput, open_image

EIGHT_BIT_MAX = 255
LONG_IMAGE = 8
"""Sides longer than so many times the other are not resized as a whole for drawing."""


class JanusFlowImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings of one call beside transformers' own."""

    min_size: int
    """Least length of an image's shorter side after resizing, in pixels."""


class JanusFlowImageProcessor(PilBackend):
    """Images of any size to the understanding tower's square input.

    An image processor of transformers: every setting may be given for one call, too. Reads the
    release's `preprocessor_config.json`, where the size is called `image_size`; keys it does not
    know are kept and written again.
    """

    valid_kwargs = JanusFlowImageProcessorKwargs
    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    do_resize = do_pad = do_rescale = do_normalize = do_convert_rgb = True
    resample = Image.Resampling.BICUBIC
    size: ClassVar[Any] = {"height": 384, "width": 384}
    min_size = 14
    image_mean = image_std = (0.5, 0.5, 0.5)

    def __init__(self, *, image_size: int | None = None, **settings: Any) -> None:
        """Settings are those of the class above, and what else a file holds.

        Args:
            image_size: rows and columns that the tower sees; another word for `size`.
            **settings: see above.
        """
        if image_size is not None:
            settings.setdefault("size", {"height": image_size, "width": image_size})
        # Like the release: the padding colour follows the mean, whatever the file says.
        settings.pop("background_color", None)
        for name in ("image_mean", "image_std"):
            if settings.get("do_normalize", True) and settings.get(name, ()) is None:
                raise ConfigError(
                    f"do_normalize=true with {name}={settings[name]}: give it or set "
                    "do_normalize=false"
                )
        super().__init__(**settings)
        _side(self.size, self.min_size)

    @property
    def image_size(self) -> int:
        """Rows and columns that the tower sees."""
        return self.size.height

    @property
    def background_color(self) -> list[int]:
        """What images are padded with: the mean colour, a level a channel."""
        return _background(self.image_mean)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """The images as they are: files are opened when their turn comes, addresses refused."""
        return image_url_or_urls

    def preprocess(
        self, images: Any, *, return_tensors: str | None = "pt", **settings: Any
    ) -> BatchFeature:
        """What the tower sees of each image, in order, as `pixel_values` [n, c, y, x].

        Args:
            images: one or several of any kind (see `ImageInput`), lists of lists, too.
            return_tensors: "pt", "np" or None for a list of arrays.
            **settings: that are to differ for this call (`size`, `do_normalize`, ...).
        """
        return super().preprocess(images, return_tensors=return_tensors, **settings)

    def _prepare_image_like_inputs(
        self, images: Any, input_data_format: Any = None, **_settings: Any
    ) -> list[Image.Image]:
        first = None if input_data_format is None else input_data_format == ChannelDimension.FIRST
        return [open_image(image, channels_first=first) for image in flat_images(images)]

    def _preprocess(
        self,
        images: list[Image.Image],
        *,
        size: SizeDict,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        return_tensors: str | None,
        **settings: Any,
    ) -> BatchFeature:
        side = _side(size, settings["min_size"])
        if not images:
            none = np.zeros((0, 3, side, side), np.float32)
            return BatchFeature({"pixel_values": none}, return_tensors)
        arrays = []
        for image in images:
            values = np.asarray(_squared(image, side=side, image_mean=image_mean, **settings))
            if do_rescale:
                values = values * rescale_factor  # float64 till here
            values = values.astype(np.float32)
            if do_normalize:
                values -= np.asarray(image_mean, dtype=np.float32)
                values /= np.asarray(image_std, dtype=np.float32)
            arrays.append(np.ascontiguousarray(values.transpose(2, 0, 1)))
        return BatchFeature({"pixel_values": arrays}, return_tensors)

    def square(self, image: ImageInput) -> Image.Image:
        """The image fitted into a square of the tower's size, before it becomes numbers."""
        settings = {name: getattr(self, name) for name in self._valid_kwargs_names}
        return _squared(open_image(image), side=self.image_size, **settings)

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


def flat_images(images: Any) -> list[Any]:
    """One image, several, or lists of them, as a list in reading order."""
    if isinstance(images, list | tuple):
        return [image for each in images for image in flat_images(each)]
    if isinstance(images, ArrayLike) and getattr(images, "ndim", 0) == 4:
        return list(images)  # pyright: ignore[reportArgumentType]
    return [images]


def _squared(
    image: Image.Image,
    *,
    side: int,
    min_size: int,
    image_mean: Sequence[float],
    do_resize: bool,
    do_pad: bool,
    resample: int,
    **_others: Any,
) -> Image.Image:
    """The image fitted into a square and padded, as far as the settings say."""
    width, height = image.size
    if do_resize:
        longer = max(width, height)
        # Division first and truncation: the release's order, which decides odd sizes.
        width = max(int(width / longer * side), min_size)
        height = max(int(height / longer * side), min_size)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling(resample))
    if width == height or not do_pad:
        return image
    longer = max(width, height)
    canvas = Image.new("RGB", (longer, longer), tuple(_background(image_mean)))
    canvas.paste(image, ((longer - width) // 2, (longer - height) // 2))
    return canvas


def _background(mean: Sequence[float]) -> list[int]:
    return [int(of_channel * EIGHT_BIT_MAX) for of_channel in mean]


def _side(size: SizeDict, min_size: int) -> int:
    """Rows and columns of the square, checked."""
    if size.height is None or size.height != size.width:
        raise ConfigError(f"got size={dict(size)}: the tower sees squares, so give height = width")
    if not 1 <= min_size <= size.height:
        raise ConfigError(
            f"got image_size={size.height} and min_size={min_size}: the image's shorter side is at "
            f"least min_size, so use 1 <= min_size <= {size.height}"
        )
    return size.height


def crop_for_generation(
    image: Image.Image,
    *,
    size: int,
    rng: np.random.Generator | None = None,
    place: float = 0.5,
) -> Image.Image:
    """A size x size piece that spans the shorter side.

    At random with `rng`, else at `place` along the longer side: 0 is its begin, 0.5 the centre.
    Of a long image only the part that is kept is resized.
    """
    shorter = min(image.size)
    # round() could fall below the crop only by float error, never by more than a pixel.
    whole = [max(size, round(side * size / shorter)) for side in image.size]
    if rng is None:
        corner = [int(place * (side - size)) for side in whole]
    else:
        corner = [int(rng.integers(side - size + 1)) for side in whole]
    left, top = corner
    if max(whole) <= LONG_IMAGE * size:
        if image.size != tuple(whole):
            image = image.resize((whole[0], whole[1]), Image.Resampling.BICUBIC)
        return image.crop((left, top, left + size, top + size))
    # The same pixels but for rounding, since Pillow looks beyond the box as well.
    across, down = (old / new for old, new in zip(image.size, whole, strict=True))
    right, bottom = min((left + size) * across, image.width), min((top + size) * down, image.height)
    box = (left * across, top * down, right, bottom)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def to_latent_range(image: Image.Image) -> Float[Tensor, "c y x"]:
    """An RGB image as the VAE wants it: 0 becomes -1, 255 becomes 1."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return (pixels / EIGHT_BIT_MAX * 2 - 1).permute(2, 0, 1).contiguous()  # c y x


def to_images(decoded: Float[Tensor, "b c y x"]) -> list[Image.Image]:
    """What the VAE decoded as RGB images: clipped to [-1, 1], rounded to the nearest level."""
    levels = (decoded.detach().float().clamp(-1, 1) + 1) / 2 * EIGHT_BIT_MAX
    pixels = levels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # b y x c
    return list(map(Image.fromarray, pixels))
