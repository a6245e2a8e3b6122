"""Networks in ncnn's files, run by torch: a `.param` text names the layers, a `.bin` has weights.

Only what convolutional upscalers are made of is known; anything else is refused, not guessed at.

`.param`: a magic number; how many layers and blobs there are; then one layer a line: its type, its
name, how many blobs go in and out, their names, and settings as KEY=VALUE. A key of -23300 - k is
the list of key k: how many values, then the values. `.bin`: every layer's weights in the order of
the layers; those of a convolution begin with a flag that tells their type.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from janusflow.config.errors import CheckpointError

MAGIC = "7767517"
HALF_FLAG, FLOAT_FLAG = 0x01306B47, 0
WEIGHT_TYPES = {HALF_FLAG: torch.float16, FLOAT_FLAG: torch.float32}
ALIGNMENT = 4
"""Bytes; what has fewer is filled up."""
FIRST_LIST_KEY = -23300
# Keys of settings, which count from 0 for every type of layer.
OUTPUTS, KERNEL, PADDING, HAS_BIAS, NUM_WEIGHTS, ACTIVATION, SLOPES = 0, 1, 4, 5, 6, 9, 10
RESIZE, ROWS, COLUMNS = 0, 1, 2
OPERATION, COEFFICIENTS = 0, 1
SETTINGS: dict[str, set[int]] = {
    "Input": set(),
    "Split": set(),
    "Concat": set(),
    "Convolution": {OUTPUTS, KERNEL, PADDING, HAS_BIAS, NUM_WEIGHTS, ACTIVATION, SLOPES},
    "PReLU": {OUTPUTS},
    "PixelShuffle": {OUTPUTS},
    "Interp": {RESIZE, ROWS, COLUMNS},
    "BinaryOp": {OPERATION},
    "Eltwise": {OPERATION, COEFFICIENTS},
}
"""The layers that are known, and the settings that they may have: stride, dilation and their like
stay at their defaults."""
LEAKY = 2
RESIZES = {1: "nearest", 2: "bilinear", 3: "bicubic"}
NEIGHBOURS = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""How far away pixels are that a resized one is made of."""
ADD, SUM = 0, 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One line of a `.param` file."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: dict[int, list[float]]

    def number(self, key: int, default: float = 0.0) -> float:
        """A setting that is one number."""
        return self.settings.get(key, [default])[0]


def read_layers(text: str) -> list[Layer]:
    """The layers of a `.param` text, in the order they run.

    Raises:
        CheckpointError: it is not such a text.
    """
    lines = text.split("\n")
    if lines[0].strip() != MAGIC:
        raise CheckpointError(f"ncnn parameters begin with {lines[0][:40]!r}, wanted {MAGIC}.")
    try:
        layers = [_layer(line.split()) for line in lines[2:] if line.strip()]
        wanted = int(lines[1].split()[0])
    except (ValueError, IndexError) as error:
        raise CheckpointError(
            f"ncnn parameters with a line that cannot be read: {error}."
        ) from None
    if len(layers) != wanted:
        raise CheckpointError(f"ncnn parameters with {len(layers)} layers, wanted {wanted}.")
    return layers


def _layer(words: Sequence[str]) -> Layer:
    num_inputs, num_outputs = int(words[2]), int(words[3])
    blobs, settings = words[4 : 4 + num_inputs + num_outputs], {}
    for word in words[4 + num_inputs + num_outputs :]:
        key, _, said = word.partition("=")
        values = [float(value) for value in said.split(",")]
        is_list = int(key) <= FIRST_LIST_KEY
        settings[FIRST_LIST_KEY - int(key) if is_list else int(key)] = values[is_list:]
    return Layer(
        kind=words[0],
        name=words[1],
        inputs=tuple(blobs[:num_inputs]),
        outputs=tuple(blobs[num_inputs:]),
        settings=settings,
    )


class _Weights:
    """Reads a `.bin` from its begin to its end."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def plain(self, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """So many numbers, as float32."""
        size = count * dtype.itemsize
        if self.place + size > len(self.content):
            raise CheckpointError(
                f"ncnn weights end after {len(self.content)} bytes, wanted {self.place + size} or "
                "more: the file is cut short."
            )
        # A copy, for the bytes themselves cannot be written to.
        found = torch.frombuffer(
            bytearray(self.content[self.place : self.place + size]), dtype=dtype
        )
        self.place += -(-size // ALIGNMENT) * ALIGNMENT
        return found.float()

    def flagged(self, count: int) -> Tensor:
        """So many numbers of the type that a flag before them tells."""
        flag = int(self.plain(1).view(torch.int32))
        if flag not in WEIGHT_TYPES:
            raise CheckpointError(f"ncnn weights of type {flag:#x}: only float16 and 32 are known.")
        return self.plain(count, WEIGHT_TYPES[flag])

    def check_end(self) -> None:
        """Refuse what is left."""
        if self.place != len(self.content):
            raise CheckpointError(
                f"ncnn weights have {len(self.content)} bytes, the layers take {self.place}: the "
                "two files do not belong together."
            )


class _Scaled(nn.Module):
    """Rows and columns times a factor."""

    def __init__(self, factor: float, mode: str) -> None:
        super().__init__()
        self.factor, self.mode = factor, mode

    def forward(self, blob: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y2 x2"]:
        """Pixels are squares: corners stay on corners."""
        aligned = None if self.mode == "nearest" else False
        return functional.interpolate(
            blob, scale_factor=self.factor, mode=self.mode, align_corners=aligned
        )


class _Weighted(nn.Module):
    """A sum of blobs, each times a number."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def forward(self, *blobs: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        """Their sum."""
        first, *others = (blob * by for blob, by in zip(blobs, self.weights, strict=True))
        return sum(others, first)


class _Concatenated(nn.Module):
    """Channels one after another."""

    def forward(self, *blobs: Float[Tensor, "b _ y x"]) -> Float[Tensor, "b c y x"]:
        """All of them."""
        return torch.cat(blobs, dim=1)


def _module(layer: Layer, weights: _Weights) -> nn.Module:
    """What a layer does; its weights are the next ones."""
    extra = layer.settings.keys() - SETTINGS.get(layer.kind, set())
    match layer.kind:
        case _ if extra or layer.kind not in SETTINGS:
            pass
        case "Input" | "Split":
            return nn.Identity()
        case "Concat":
            return _Concatenated()
        case "Convolution" if layer.number(ACTIVATION) in (0, LEAKY):
            return _convolution(layer, weights)
        case "PReLU":
            slopes = weights.plain(int(layer.number(OUTPUTS)))
            prelu = nn.PReLU(len(slopes))
            prelu.weight = nn.Parameter(slopes)
            return prelu
        case "PixelShuffle":
            return nn.PixelShuffle(int(layer.number(OUTPUTS)))
        case "Interp" if layer.number(RESIZE) in RESIZES and layer.number(ROWS) == layer.number(
            COLUMNS
        ):
            return _Scaled(layer.number(ROWS), RESIZES[int(layer.number(RESIZE))])
        case "BinaryOp" if layer.number(OPERATION) == ADD and len(layer.inputs) > 1:
            return _Weighted([1.0] * len(layer.inputs))
        case "Eltwise" if layer.number(OPERATION) == SUM:
            return _Weighted(layer.settings.get(COEFFICIENTS, [1.0] * len(layer.inputs)))
    raise CheckpointError(
        f"{layer.name}: a layer {layer.kind} with settings {layer.settings} is not known here: "
        "only those of convolutional upscalers are."
    )


def _convolution(layer: Layer, weights: _Weights) -> nn.Module:
    """One of stride 1, with the activation that is folded into it."""
    outputs, kernel = int(layer.number(OUTPUTS)), int(layer.number(KERNEL))
    padding, has_bias = int(layer.number(PADDING)), bool(layer.number(HAS_BIAS))
    if 2 * padding + 1 != kernel:
        raise CheckpointError(
            f"{layer.name}: {padding} pixels of padding around a convolution of {kernel}x{kernel}: "
            "only those are known that keep rows and columns."
        )
    count = int(layer.number(NUM_WEIGHTS))
    inputs = count // (outputs * kernel**2)
    module = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=has_bias)
    module.weight = nn.Parameter(weights.flagged(count).reshape(module.weight.shape))
    if has_bias:
        module.bias = nn.Parameter(weights.plain(outputs))
    if layer.number(ACTIVATION) != LEAKY:
        return module
    return nn.Sequential(module, nn.LeakyReLU(layer.number(SLOPES)))


class _Extent(NamedTuple):
    """How a blob lies over the image that the network is given."""

    reach: float
    """Pixels of that image, on each side, that one of the blob's depends on."""
    scale: float
    """Its rows for each of that image's."""

    def after(self, step: nn.Module) -> "_Extent":
        """Of what the step makes of the blob."""
        match step:
            case nn.Sequential():
                return self.after(step[0])
            case nn.Conv2d():
                return _Extent(self.reach + step.kernel_size[0] // 2 / self.scale, self.scale)
            case nn.PixelShuffle():
                return _Extent(self.reach, self.scale * step.upscale_factor)
            case _Scaled():
                more = NEIGHBOURS[step.mode] / self.scale
                return _Extent(self.reach + more, self.scale * step.factor)
        return self


class NcnnNetwork(nn.Module):
    """A network of one input and one output, read from ncnn's two files.

    Raises:
        CheckpointError: they do not belong together, or hold what is not known here.
    """

    def __init__(self, parameters: str, weights: bytes) -> None:
        super().__init__()
        self.layers = read_layers(parameters)
        reader = _Weights(weights)
        self.steps = nn.ModuleList(_module(layer, reader) for layer in self.layers)
        reader.check_end()
        extent = self._extent()
        self.factor = round(extent.scale)
        """Rows of the result for each of the image's."""
        self.reach = math.ceil(extent.reach)
        """Pixels of the image, on each side, that one of the result depends on."""

    def forward(self, image: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y2 x2"]:
        """Run every layer once; a blob is let go when it was read, which is once."""
        blobs: dict[str, Tensor] = {}
        for layer, step in zip(self.layers, self.steps, strict=True):
            read = [blobs.pop(name) for name in layer.inputs] or [image]
            made: Tensor = step(*read)
            blobs |= dict.fromkeys(layer.outputs, made)
        return blobs[self.layers[-1].outputs[0]]

    def _extent(self) -> _Extent:
        blobs: dict[str, _Extent] = {}
        for layer, step in zip(self.layers, self.steps, strict=True):
            try:
                read = [blobs.pop(name) for name in layer.inputs] or [_Extent(0.0, 1.0)]
            except KeyError as error:
                raise CheckpointError(
                    f"{layer.name} reads {error}, which no layer before it leaves to be read."
                ) from None
            made = max(read).after(step)
            blobs |= dict.fromkeys(layer.outputs, made)
        return blobs[self.layers[-1].outputs[0]]
