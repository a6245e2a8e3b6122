"""Linear layers in 8 bits on the CPU, their activations scaled as they come."""

import warnings

import torch
from torch import nn
from transformers import PreTrainedModel

from janusflow.config.errors import ConfigError
from janusflow.inference.memory.heap import forget_pages, return_freed_memory

KINDS = ("int8",)


def check_quantization(name: str, device: torch.device) -> None:
    """Refuse what `quantize_layers` cannot do."""
    if name not in KINDS:
        raise ConfigError(f"quantize={name!r}: use int8, or None for the full weights.")
    if device.type != "cpu":
        raise ConfigError(
            f"quantize={name!r} on {device.type}: its kernels are for the CPU: use device=cpu, or "
            "dtype=bfloat16 to halve the memory."
        )


def quantize_layers(
    module: nn.Module, *, only: str | None = None, beside: nn.Module | None = None
) -> None:
    """Replace the linear layers within a module, whose own weights leave memory at once.

    Args:
        module: one without linear layers is left as it is.
        only: name of the one layer that is meant.
        beside: a module that may share their weights, and keeps them.
    """
    linear = [
        child
        for name, child in module.named_modules()
        if isinstance(child, nn.Linear) and only in (None, name)
    ]
    if not linear:
        return
    with warnings.catch_warnings():
        # torch.ao is deprecated, and still the fastest there is on CPUs without VNNI: 2 times
        # float32, where torchao's int8 is 29 times slower.
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=UserWarning)
        torch.ao.quantization.quantize_dynamic(
            module, {only or nn.Linear}, dtype=torch.qint8, inplace=True
        )
    shared = set() if beside is None else {id(weight) for weight in beside.parameters()}
    # torch.ao leaves cycles behind, which would keep the weights until they are collected; and
    # what is freed of the 8-bit weights before they were packed stays in the process's heap.
    for child in linear:
        if id(child.weight) not in shared:
            forget_pages(child.weight.data)
            child.weight.data = child.weight.new_empty(0)
    return_freed_memory()


def quantize_llm(llm: PreTrainedModel) -> None:
    """Replace all of a language model's linear layers."""
    quantize_layers(llm, beside=llm.get_input_embeddings())


def quantize_head(llm: PreTrainedModel) -> None:
    """Replace a language model's output layer."""
    head = llm.get_output_embeddings()
    name = next(name for name, module in llm.named_modules() if module is head)
    quantize_layers(llm, only=name, beside=llm.get_input_embeddings())
