"""Linear layers in 8 bits on the CPU, their activations scaled as they come."""

import warnings
from pathlib import Path

import torch
from torch import nn
from torch.ao.nn.quantized.dynamic import Linear as QuantizedLinear
from transformers import PreTrainedModel

from janusflow.config.errors import ConfigError
from janusflow.interop.load import complete, open_model, place
from janusflow.model.modeling import JanusFlowForConditionalGeneration

KINDS = ("int8",)


def check_quantization(name: str, device: torch.device) -> None:
    """Refuse what `quantized_model` cannot do."""
    if name not in KINDS:
        raise ConfigError(f"quantize={name!r}: use int8, or None for the full weights.")
    if device.type != "cpu":
        raise ConfigError(
            f"quantize={name!r} on {device.type}: its kernels are for the CPU: use device=cpu, or "
            "dtype=bfloat16 to halve the memory."
        )


def is_quantized(model: nn.Module) -> bool:
    """Whether `quantize_layers` has replaced layers of a model."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def quantized_model(folder: Path, dtype: torch.dtype) -> JanusFlowForConditionalGeneration:
    """The model of a folder with its LLM in 8 bits, read a layer at a time.

    Raises:
        CheckpointError: as `load_model`.
    """
    model, weights = open_model(folder)
    late = set[str]()
    for path, layer in model.llm.named_modules():
        if isinstance(layer, nn.ModuleList):
            for number, block in layer.named_children():
                prefix = f"llm.{path}.{number}"
                names = [f"{prefix}.{name}" for name, _ in block.named_parameters()]
                for name, stored in weights.read(names):
                    place(model, name, stored.to(dtype, copy=True))
                quantize_layers(block)
                late.update(names)
    for name, stored in weights.read([name for name in weights.names if name not in late]):
        place(model, name, stored.to(dtype, copy=True))
    complete(model, "cpu")
    quantize_head(model.llm)
    return model


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
    # torch.ao leaves cycles behind, which would keep the weights until they are collected.
    for child in linear:
        if id(child.weight) not in shared:
            child.weight.data = child.weight.new_empty(0)


def quantize_head(llm: PreTrainedModel) -> None:
    """Replace a language model's output layer."""
    head = llm.get_output_embeddings()
    name = next(name for name, module in llm.named_modules() if module is head)
    quantize_layers(llm, only=name, beside=llm.get_input_embeddings())
