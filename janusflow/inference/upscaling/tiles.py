"""A network run on an image in tiles, so that memory does not grow with the image."""

from collections.abc import Callable, Iterator
from itertools import product

from jaxtyping import Float
from torch import Tensor

Network = Callable[[Tensor], Tensor]
"""From an image to one that is larger by a whole factor, " b c y x" both."""


def tiles(height: int, width: int, *, size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of tiles that cover an image, from the top left; the last are smaller."""
    for top, left in product(range(0, height, size), range(0, width, size)):
        yield slice(top, min(top + size, height)), slice(left, min(left + size, width))


def run_in_tiles(
    network: Network,
    image: Float[Tensor, "b c y x"],
    *,
    factor: int,
    size: int,
    overlap: int,
    on_tile: Callable[[], object],
) -> Float[Tensor, "b c y2 x2"]:
    """Run the network on every tile with what is around it, and keep the tile's own part.

    Args:
        network: keeps an image's proportions.
        image: stays on its device; so does the result.
        factor: rows of the result for each row of the image.
        size: rows and columns of a tile, in the image's pixels.
        overlap: pixels on each side that are shown beside the tile. As many as a pixel of the
            result depends on, and the result is that of the whole image.
        on_tile: called after every tile.
    """
    height, width = image.shape[-2:]
    result = image.new_empty(*image.shape[:2], factor * height, factor * width)
    for rows, columns in tiles(height, width, size=size):
        top, left = max(rows.start - overlap, 0), max(columns.start - overlap, 0)
        shown = image[..., top : rows.stop + overlap, left : columns.stop + overlap]
        own = (_within(rows, top, factor), _within(columns, left, factor))
        place = (_within(rows, 0, factor), _within(columns, 0, factor))
        result[..., *place] = network(shown)[..., *own]
        on_tile()
    return result


def _within(span: slice, start: int, factor: int) -> slice:
    """Where a span of the image is in the result of the part that begins at `start`."""
    return slice(factor * (span.start - start), factor * (span.stop - start))
