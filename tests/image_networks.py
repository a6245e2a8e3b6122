"""Networks small enough to know their features by hand."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class MeanColour(nn.Module):
    """Three features of images: their mean red, green and blue."""

    def __init__(self) -> None:
        super().__init__()
        self.image_size = 8

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, self.image_size, self.image_size)
        return images.mean((2, 3))


class Layered(nn.Module):
    """Has `layers`, as the published Inception has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten(1)


def save_script(network: nn.Module, path: Path) -> Path:
    """Write a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network).save(str(path))
    return path
