"""Adapters as they are after training: with changes that show, in peft's folders."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from janusflow.config.learning.tuning import TuneConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.tuning.active import remove
from janusflow.tuning.files import save_adapter
from janusflow.tuning.inject import add_adapter

ON = ("llm.attention", "generation", "aligners")


def learnt(model: Any, name: str, *, seed: int, size: float = 0.1) -> None:
    """Give an adapter that is in a model weights of its own, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for key, weight in model.named_parameters():
        if f".{name}." in f"{key}.":
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            weight.data = weight.data + size * noise


def write_adapter(
    folder: Path,
    model: Any,
    *,
    seed: int = 0,
    base: str = "mini",
    modules_to_save: tuple[str, ...] = (),
    size: float = 0.1,
    **settings: Any,
) -> Path:
    """Save an adapter of a model, which is left as it was."""
    flags = [weight.requires_grad for weight in model.parameters()]
    config = TuneConfig(**({"rank": 4, "on": ON} | settings))
    add_adapter(model, config, name="made", modules_to_save=modules_to_save)
    learnt(model, "made", seed=seed, size=size)
    save_adapter(model, folder, name="made", base=base)
    remove(model, "made")
    for weight, flag in zip(model.parameters(), flags, strict=True):
        weight.requires_grad_(flag)
    return folder


@torch.no_grad()
def outputs(jf: JanusFlow) -> dict[str, Tensor]:
    """What both halves compute: a picture's velocity, and logits of an answer."""
    inputs = jf.prepare_inputs([[{"role": "user", "content": "what?"}]], allow_paths=False)
    config = jf.model.config.generation
    shape = (1, config.latent_channels, config.latent_size, config.latent_size)
    x_t = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    from janusflow.inference.drawing.prompts import prompt_of

    prompt = prompt_of(jf.model, jf.processor, ["red"])
    velocity = jf.model.velocity(x_t, torch.tensor([0.5]), prompt)
    return {"velocity": velocity, "logits": jf.model(**inputs).logits}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """To the bit."""
    return all(torch.equal(one[name], other[name]) for name in one)


def differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Both halves, visibly."""
    return all((one[name] - other[name]).abs().max() > 1e-4 for name in one)
