"""ncnn's two files, written from weights and layers as its own converters write them."""

import struct
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HALF = 0x01306B47


class NcnnWriter:
    """Adds one layer after another; `half` decides how convolutions are stored."""

    def __init__(self, *, half: bool = True) -> None:
        self.half = half
        self.lines: list[str] = []
        self.weights = b""

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], said: str = "") -> None:
        """One line."""
        counts = f"{len(inputs)} {len(outputs)}"
        name = f"{kind}_{len(self.lines)}"
        self.lines.append(f"{kind:<16} {name:<24} {counts} {' '.join([*inputs, *outputs])} {said}")

    def convolution(self, module: nn.Conv2d, source: str, target: str, *, leaky: float = 0) -> None:
        """A convolution, with a leaky ReLU folded into it where there is a slope."""
        side, weight = module.kernel_size[0], module.weight
        said = f"0={module.out_channels} 1={side} 4={side // 2} 5={int(module.bias is not None)} "
        said += f"6={weight.numel()}" + (f" 9=2 -23310=1,{leaky:e}" if leaky else "")
        self.add("Convolution", [source], [target], said)
        self.weights += struct.pack("<I", HALF if self.half else 0)
        self._write(weight.half() if self.half else weight)
        if module.bias is not None:
            self._write(module.bias)

    def prelu(self, module: nn.PReLU, source: str, target: str) -> None:
        """Slopes, always as float32."""
        self.add("PReLU", [source], [target], f"0={module.num_parameters}")
        self._write(module.weight)

    def _write(self, values: Tensor) -> None:
        content = values.detach().numpy().tobytes()
        self.weights += content + b"\0" * (-len(content) % 4)

    @property
    def parameters(self) -> str:
        """The text file."""
        return "\n".join(["7767517", f"{len(self.lines)} 99", *self.lines, ""])


def seeded(module: nn.Module, seed: int) -> nn.Module:
    """A module with weights of its own that float16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        scale = (parameter[0].numel() if parameter.ndim > 1 else 4) ** -0.5
        parameter.data = (drawn * scale).half().float()
    return module


def write_compact(
    network: nn.Sequential, *, factor: int, shrink: float = 1.0, half: bool = True
) -> NcnnWriter:
    """Convolutions and PReLUs in turn, shuffled to a larger picture, added to the enlarged input.

    Args:
        network: ends with 3 factor^2 channels.
        factor: of the shuffle.
        shrink: bicubic, at the end; 1 leaves it out.
        half: float16 weights.
    """
    writer = NcnnWriter(half=half)
    writer.add("Input", [], ["data"])
    writer.add("Split", ["data"], ["base", "0"])
    for i, module in enumerate(network):
        if isinstance(module, nn.Conv2d):
            writer.convolution(module, str(i), str(i + 1))
        else:
            assert isinstance(module, nn.PReLU)
            writer.prelu(module, str(i), str(i + 1))
    writer.add("PixelShuffle", [str(len(network))], ["detail"], f"0={factor}")
    writer.add("Interp", ["base"], ["large"], f"0=1 1={factor:e} 2={factor:e}")
    writer.add("BinaryOp", ["detail", "large"], ["sum"])
    if shrink != 1.0:
        writer.add("Interp", ["sum"], ["output"], f"0=3 1={shrink:e} 2={shrink:e}")
    return writer


def compact(*, factor: int, width: int = 6, depth: int = 2) -> nn.Sequential:
    """Real-ESRGAN's small network (SRVGGNetCompact), with random weights."""
    hidden = [
        m for _ in range(depth) for m in (nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width))
    ]
    last = nn.Conv2d(width, 3 * factor**2, 3, padding=1)
    layers = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.PReLU(width), *hidden, last)
    seeded(layers, seed=factor)
    return layers
