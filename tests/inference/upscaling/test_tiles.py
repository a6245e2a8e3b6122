"""Tiles that overlap by what a pixel depends on give the whole image's result."""

import pytest
import torch
from ncnn_files import compact, write_compact

from janusflow.inference.upscaling.ncnn import NcnnNetwork
from janusflow.inference.upscaling.tiles import run_in_tiles, tiles

IMAGE = torch.rand(1, 3, 29, 23, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 7, 23, 64])
def test_tiles_cover_every_pixel_once(size: int):
    seen = torch.zeros(29, 23)
    for rows, columns in tiles(29, 23, size=size):
        seen[rows, columns] += 1
    assert bool((seen == 1).all())


def in_tiles(network: NcnnNetwork, *, size: int, overlap: int) -> tuple[torch.Tensor, int]:
    """The result, and how many tiles there were."""
    done: list[None] = []
    result = run_in_tiles(
        network,
        IMAGE,
        factor=network.factor,
        size=size,
        overlap=overlap,
        on_tile=lambda: done.append(None),
    )
    return result, len(done)


@pytest.mark.parametrize("shrink", [1.0, 0.75, 0.5])
@torch.no_grad()
def test_tiles_give_the_whole_images_result(shrink: float):
    """To float32's rounding, for kernels add up in another order on another size."""
    writer = write_compact(compact(factor=4), factor=4, shrink=shrink)
    network = NcnnNetwork(writer.parameters, writer.weights)
    tiled, count = in_tiles(network, size=8, overlap=network.reach)
    torch.testing.assert_close(tiled, network(IMAGE), rtol=1e-5, atol=1e-5)
    assert count == 4 * 3


@torch.no_grad()
def test_less_overlap_does_not_suffice():
    """Or the test above would claim nothing."""
    writer = write_compact(compact(factor=2), factor=2)
    network = NcnnNetwork(writer.parameters, writer.weights)
    tiled, _ = in_tiles(network, size=8, overlap=network.reach - 1)
    assert float((tiled - network(IMAGE)).abs().max()) > 1e-3
