"""Networks small enough to know their features by hand, and a tiny CLIP."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

CLIP_LENGTH, CLIP_SIZE = 8, 16


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


def save_tiny_clip(folder: Path) -> None:
    """A CLIP with random weights that reads letters, in transformers' format."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>"]
    tokens.append("<|endoftext|>")
    end = len(tokens) - 1
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": len(tokens),
            "max_position_embeddings": CLIP_LENGTH,
            "bos_token_id": end - 1,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={**sizes, "image_size": CLIP_SIZE, "patch_size": CLIP_SIZE // 2},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": CLIP_SIZE}, crop_size={"height": CLIP_SIZE, "width": CLIP_SIZE}
    ).save_pretrained(folder)
