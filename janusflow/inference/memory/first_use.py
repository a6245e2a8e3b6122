"""Weights that stay in their files until they are used: a model is mapped, and little of it read.

The layers are converted as they run for the first time, so drawing never reads the tower or the
LLM's output layer. Of the embedding only the rows that are looked up are converted. Results are
the same to the bit.
"""

import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from janusflow.inference.memory.heap import forget_pages
from janusflow.inference.memory.quantization import quantize_head, quantize_layers
from janusflow.interop.load import complete, open_model, place
from janusflow.model.modeling import JanusFlowForConditionalGeneration

ONE_AT_A_TIME = threading.Lock()
"""A second thread that needs a layer waits until the first has converted it."""


def mapped_model(
    folder: Path, dtype: torch.dtype, *, quantize: str | None = None
) -> JanusFlowForConditionalGeneration:
    """The model of a folder for the CPU; what is stored in another dtype is converted when used.

    Args:
        folder: of the model.
        dtype: of its weights.
        quantize: what the LLM's layers are converted to instead (`check_quantization`); its output
            layer is at once.

    Raises:
        CheckpointError: as `load_model`.
    """
    # One mapping, which the weights keep; what has been copied of it leaves memory page by page.
    model, weights = open_model(folder, remap=False)
    words, head = model.llm.get_input_embeddings(), model.llm.get_output_embeddings()
    late = _weights_of([words, head, *_layers(model)])
    in_8_bits = _weights_of([] if quantize is None else _layers(model.llm))
    for name, stored in weights.read(weights.names):
        own = id(model.get_parameter(name))
        is_late = own in in_8_bits or (own in late and stored.dtype != dtype)
        place(model, name, stored if is_late else _converted(stored, dtype))
    complete(model, "cpu")
    if quantize is not None:
        quantize_head(model.llm)
        for layer in _layers(model.llm):
            layer.register_forward_pre_hook(_quantize)
    like = model.begin_of_understanding
    for module in (model.llm.get_output_embeddings(), *_layers(model)):
        module.register_forward_pre_hook(partial(_convert, like=like))
    words.register_forward_hook(partial(_convert_rows, like=like))
    return model


def _layers(root: nn.Module) -> list[nn.Module]:
    """What stands in a list: nobody asks for its dtype before it runs."""
    return [layer for each in root.modules() if isinstance(each, nn.ModuleList) for layer in each]


def _weights_of(modules: Iterable[nn.Module]) -> set[int]:
    return {id(weight) for module in modules for weight in module.parameters()}


def _quantize(layer: nn.Module, _: object) -> None:
    with ONE_AT_A_TIME, torch.inference_mode(False):
        quantize_layers(layer)


def _convert(module: nn.Module, _: object, *, like: nn.Parameter) -> None:
    """Convert what has not been yet, for good; gradients may be wanted later.

    `like` has the model's dtype, which may have been changed since it was loaded.
    """
    with ONE_AT_A_TIME, torch.inference_mode(False):
        for weight in module.parameters():
            if weight.dtype != like.dtype:
                weight.data = _converted(weight.data, like.dtype)


def _convert_rows(_module: nn.Module, _: object, rows: Tensor, *, like: nn.Parameter) -> Tensor:
    return rows.to(like.dtype)


def _converted(stored: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy; the pages of the original leave memory."""
    value = stored.to(dtype, copy=True)
    forget_pages(stored)
    return value
