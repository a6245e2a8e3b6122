"""ncnn's files against the same weights in plain torch modules; what is not known is refused."""

import weakref

import pytest
import torch
from ncnn_files import NcnnWriter, compact, seeded, write_compact
from torch import Tensor, nn
from torch.nn import functional

from janusflow.config.errors import CheckpointError
from janusflow.inference.upscaling.ncnn import NcnnNetwork

IMAGE = torch.rand(1, 3, 11, 7, generator=torch.Generator().manual_seed(0))


def network_of(writer: NcnnWriter) -> NcnnNetwork:
    return NcnnNetwork(writer.parameters, writer.weights)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(("shuffle", "shrink", "factor"), [(4, 1.0, 4), (4, 0.75, 3), (4, 0.5, 2)])
@torch.no_grad()
def test_a_compact_network_is_that_of_plain_modules(
    half: bool, shuffle: int, shrink: float, factor: int
):
    layers = compact(factor=shuffle)
    expected = functional.pixel_shuffle(layers(IMAGE), shuffle)
    expected = expected + IMAGE.repeat_interleave(shuffle, 2).repeat_interleave(shuffle, 3)
    if shrink != 1.0:
        expected = functional.interpolate(expected, scale_factor=shrink, mode="bicubic")
    network = network_of(write_compact(layers, factor=shuffle, shrink=shrink, half=half))
    torch.testing.assert_close(network(IMAGE), expected)
    assert network.factor == factor


class Dense(nn.Module):
    """A dense block with a scaled residual, as Real-ESRGAN's large network is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.second = nn.Conv2d(8, 3, 1, bias=False)
        self.last = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grown = torch.cat([x, functional.leaky_relu(self.first(x), 0.2)], dim=1)
        x = 0.25 * self.second(grown) + x
        large = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.last(large)


@torch.no_grad()
def test_a_dense_block_is_that_of_plain_modules():
    """Nine weights of a 1x1 kernel leave float16 unaligned, which is filled up."""
    block = seeded(Dense(), seed=1)
    assert isinstance(block, Dense)
    writer = NcnnWriter()
    writer.add("Input", [], ["x"])
    writer.add("Split", ["x"], ["a", "b", "c"])
    writer.convolution(block.first, "a", "d", leaky=0.2)
    writer.add("Concat", ["b", "d"], ["e"])
    writer.convolution(block.second, "e", "f")
    writer.add("Eltwise", ["f", "c"], ["g"], "0=1 -23301=2,2.5e-01,1.0e+00")
    writer.add("Interp", ["g"], ["h"], "0=2 1=2.0e+00 2=2.0e+00")
    writer.convolution(block.last, "h", "out")
    network = network_of(writer)
    torch.testing.assert_close(network(IMAGE), block(IMAGE))
    # 1 of the first 3x3, 1 of bilinear neighbours, half a pixel of the 3x3 at twice the size.
    assert (network.factor, network.reach) == (2, 3)


@pytest.mark.parametrize("shrink", [1.0, 0.75, 0.5])
def test_a_pixel_depends_on_none_beyond_the_reach(shrink: float):
    """The gradient of one block of the result, and some way beyond, is nothing."""
    network = network_of(write_compact(compact(factor=4), factor=4, shrink=shrink))
    image = torch.rand(1, 3, 31, 31, requires_grad=True)
    corner = slice(15 * network.factor, 16 * network.factor)
    network(image)[..., corner, corner].sum().backward()
    assert image.grad is not None
    touched = image.grad.abs().sum((0, 1)).nonzero()
    furthest = int((touched - 15).abs().max())
    assert network.reach - 1 <= furthest <= network.reach


def test_a_blob_is_let_go_when_it_was_read():
    """A network of hundreds of layers holds few of their results at a time."""
    network = network_of(write_compact(compact(factor=2, depth=6), factor=2))
    alive, most = set[int](), 0

    def note(module: nn.Module, read: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal most
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most = max(most, len(alive))

    for step in network.steps:
        step.register_forward_hook(note)
    with torch.no_grad():
        network(IMAGE)
    assert most <= 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7767517", "12", "begin with '12', wanted 7767517"),
        ("BinaryOp", "Softmax", "a layer Softmax"),
        ("0=3 1=5.0", "0=4 1=5.0", "a layer Interp"),
        ("4=1 5=1", "4=0 5=1", "0 pixels of padding around a convolution of 3x3"),
        ("4=1 5=1", "3=2 4=1 5=1", "a layer Convolution"),
        (" base ", " other ", "reads 'base', which no layer before it"),
        ("0=6 1=3", "0=x 1=3", "cannot be read: could not convert string"),
        ("13 99", "5 99", "with 13 layers, wanted 5"),
    ],
)
def test_parameters_that_are_not_known_are_refused(old: str, new: str, message: str):
    writer = write_compact(compact(factor=4), factor=4, shrink=0.5)
    parameters = writer.parameters.replace(old, new, 1)
    with pytest.raises(CheckpointError, match=message) as refused:
        NcnnNetwork(parameters, writer.weights)
    assert "\n" not in str(refused.value)


def test_weights_that_do_not_fit_are_refused():
    writer = write_compact(compact(factor=2), factor=2)
    with pytest.raises(CheckpointError, match="cut short"):
        NcnnNetwork(writer.parameters, writer.weights[:-4])
    with pytest.raises(CheckpointError, match="do not belong together"):
        NcnnNetwork(writer.parameters, writer.weights + b"0000")
    with pytest.raises(CheckpointError, match="of type 0x44434241"):
        NcnnNetwork(writer.parameters, b"ABCD" + writer.weights[4:])
