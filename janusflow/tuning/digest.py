"""What tells one base model from another, however it was loaded, in milliseconds.

A digest has two halves: one of the names and shapes of all weights, one of a sample of their
values. Values are rounded to bfloat16, so that float32 and bfloat16 give the same; in float16 some
bfloat16 numbers do not exist, and there only the first half is compared. What an adapter brought is
left out, and so is what only training uses. A change is missed if it touches none of the sampled
values, or none by as much as bfloat16 shows: single rows of an embedding, say. A merged adapter
changes every value of a layer, and is found.
"""

from collections.abc import Iterator
from hashlib import sha256

import torch
from torch import Tensor, nn

from janusflow.interop.conversion import TRAINING_ONLY

SAMPLED = 64
"""Values of each weight."""
STRIDE = 2_654_435_761
"""A prime near 2^32 / 1.618: places that are so far apart fall on all rows and columns."""
NAMES_LENGTH, VALUES_LENGTH = 16, 32
"""Hexadecimal digits of either half."""
WRAPPED = ("base_layer", "original_module")
"""Under what name a module of the base stands in the one that peft put in its place."""
ADDED = frozenset(
    {
        "lora_A",
        "lora_B",
        "lora_embedding_A",
        "lora_embedding_B",
        "lora_magnitude_vector",
        "modules_to_save",
    }
)
"""Under what names peft adds weights."""


def base_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights of a model under their own names, without those that adapters added."""
    for name, weight in model.named_parameters():
        parts = name.split(".")
        if not ADDED & set(parts) and not name.startswith(TRAINING_ONLY):
            yield ".".join(part for part in parts if part not in WRAPPED), weight


@torch.no_grad()
def base_digest(model: nn.Module) -> str:
    """The digest of a model's own weights; adapters inside must not be merged."""
    names, values = sha256(), list[Tensor]()
    for name, weight in sorted(base_weights(model), key=lambda each: each[0]):
        names.update(f"{name} {tuple(weight.shape)}\n".encode())
        places = torch.arange(SAMPLED, device=weight.device) * STRIDE % weight.numel()
        values.append(weight.reshape(-1)[places].bfloat16())
    sample = torch.cat(values).cpu().view(torch.uint8).numpy().tobytes()
    return f"{names.hexdigest()[:NAMES_LENGTH]}-{sha256(sample).hexdigest()[:VALUES_LENGTH]}"
