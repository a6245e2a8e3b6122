"""Masks: see-through is drawn anew for OpenAI, white is drawn anew for `JanusFlow.generate`."""

from PIL import Image, ImageChops

from janusflow.serving.errors import ApiError


def as_mask(given: Image.Image) -> Image.Image:
    """White where an image is drawn anew.

    Args:
        given: RGBA: its see-through parts are meant, whatever their colour. Else its white parts.

    Raises:
        ApiError: it has none.
    """
    mask = ImageChops.invert(given.getchannel("A")) if given.mode == "RGBA" else given.convert("L")
    if not mask.getbbox():
        raise ApiError(
            400,
            "mask: nothing of it is see-through, or white where it has no transparency, so nothing "
            "would be drawn anew.",
            param="mask",
        )
    return mask


def own_mask(image: Image.Image) -> Image.Image | None:
    """The see-through parts of an image as its mask; None if it has none."""
    is_opaque = image.mode != "RGBA" or image.getchannel("A").getextrema()[0] == 255
    return None if is_opaque else as_mask(image)
