"""Real-ESRGAN's small network in ncnn's two files, as its converters write them."""

import struct
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

FLOAT16_FLAG = 0x01306B47


class Compact(nn.Module):
    """SRVGGNetCompact with random weights: convolutions, then a shuffle onto the input enlarged."""

    def __init__(self, *, factor: int, shrink: float = 1.0) -> None:
        super().__init__()
        self.factor, self.shrink = factor, shrink
        widths = [3, 6, 6, 3 * factor**2]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(read, made, 3, padding=1) for read, made in pairwise(widths)
        )
        self.prelus = nn.ModuleList(nn.PReLU(width) for width in widths[1:-1])
        generator = torch.Generator().manual_seed(factor)
        for parameter in self.parameters():  # values that float16 holds exactly
            drawn = torch.randn(parameter.shape, generator=generator)
            scale = (parameter[0].numel() if parameter.ndim > 1 else 4) ** -0.5
            parameter.data = (drawn * scale).half().float()

    def forward(self, image: Tensor) -> Tensor:
        """An image "b c y x" to one that is `factor * shrink` times as large."""
        x = image
        for convolution, prelu in zip(self.convolutions, self.prelus, strict=False):
            x = prelu(convolution(x))
        x = functional.pixel_shuffle(self.convolutions[-1](x), self.factor)
        x = x + functional.interpolate(image, scale_factor=self.factor, mode="nearest")
        if self.shrink == 1.0:
            return x
        return functional.interpolate(x, scale_factor=self.shrink, mode="bicubic")


def ncnn_files(network: Compact) -> tuple[str, bytes]:
    """The texts of `.param` and `.bin`, convolutions in float16."""
    lines = ["Input data 0 1 data", "Split split 1 2 data base 0"]
    weights = b""
    for i, convolution in enumerate(network.convolutions):
        number = convolution.weight.numel()
        said = f"0={convolution.out_channels} 1=3 4=1 5=1 6={number}"
        lines.append(f"Convolution conv{i} 1 1 {2 * i} {2 * i + 1} {said}")
        weights += struct.pack("<I", FLOAT16_FLAG) + _stored(convolution.weight.half())
        weights += _stored(convolution.bias)
        if i < len(network.prelus):
            slopes = network.prelus[i].weight
            lines.append(f"PReLU prelu{i} 1 1 {2 * i + 1} {2 * i + 2} 0={len(slopes)}")
            weights += _stored(slopes)
    last, factor = 2 * len(network.prelus) + 1, network.factor
    lines.append(f"PixelShuffle shuffle 1 1 {last} detail 0={factor}")
    lines.append(f"Interp enlarge 1 1 base large 0=1 1={factor:e} 2={factor:e}")
    lines.append(f"BinaryOp add 2 1 detail large {'output' if network.shrink == 1.0 else 'sum'}")
    if network.shrink != 1.0:
        lines.append(f"Interp shrink 1 1 sum output 0=3 1={network.shrink:e} 2={network.shrink:e}")
    blobs = {name for line in lines for name in line.split()[4:] if "=" not in name}
    return "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines, ""]), weights


def _stored(values: Tensor) -> bytes:
    content = values.detach().numpy().tobytes()
    return content + b"\0" * (-len(content) % 4)
