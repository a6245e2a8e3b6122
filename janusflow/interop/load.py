"""Load a model folder, the release's layout or ours, within 1.15 times the bytes of its weights.

The names are converted by the mapping that `from_pretrained` uses too (conversion.py). The reading
is ours because `from_pretrained` takes 1.5 times the weights from bfloat16 to float32 (it keeps
whole files mapped), and goes on with a warning when weights are missing or left over.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor, nn

from janusflow.interop.conversion import (
    Shape,
    check_shapes,
    conversions,
    official_shapes,
    shapes_of,
)
from janusflow.interop.release_config import is_official, model_config, read_settings
from janusflow.interop.weight_files import WeightFiles
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> JanusFlowForConditionalGeneration:
    """A model whose every weight has one dtype, read from a folder in either layout.

    Args:
        dtype: of its weights; None for the stored one, of several the one that holds them all.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the config.json.
    """
    model, weights = open_model(folder)
    fill(model, weights.read(weights.names), dtype=dtype, device=device)
    return model


def open_model(folder: str | Path) -> tuple[JanusFlowForConditionalGeneration, "StoredWeights"]:
    """A model on the meta device, and its weights to be read; errors are those of `load_model`."""
    folder = Path(folder)
    settings = read_settings(folder)
    model = on_meta(model_config(settings, folder))
    files = WeightFiles(folder)
    expected = official_shapes(shapes_of(model)) if is_official(settings) else _stored_shapes(model)
    check_shapes(files.shapes, expected, where=str(folder))
    return model, StoredWeights(files.shapes, files.read)


class StoredWeights:
    """Weights of either layout under our names, read when they are asked for."""

    def __init__(self, shapes: Mapping[str, Shape], read: Callable[[str], Tensor]) -> None:
        self._shapes, self._read = shapes, read
        on_meta = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        self._conversion_of = {
            name: each for each in conversions(shapes) for name in each.convert(on_meta)
        }

    @property
    def names(self) -> Iterable[str]:
        """All of them."""
        return self._conversion_of

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """These weights, and what is stored in one with them.

        They may be views of a file: copy what is to stay. The largest come first, so that what is
        being converted never tops the full model.
        """
        wanted = {id(each): each for each in (self._conversion_of[name] for name in names)}
        for each in sorted(
            wanted.values(), key=lambda each: self._size(each.sources), reverse=True
        ):
            yield from each.convert({name: self._read(name) for name in each.sources}).items()

    def _size(self, names: Iterable[str]) -> int:
        return sum(torch.Size(self._shapes[name]).numel() for name in names)


def on_meta(config: JanusFlowConfig) -> JanusFlowForConditionalGeneration:
    """A model of names and shapes alone (meta device)."""
    with torch.device("meta"):
        return JanusFlowForConditionalGeneration(config)


def filled_model(
    config: JanusFlowConfig, weights: Mapping[str, Tensor], *, device: torch.device | str
) -> JanusFlowForConditionalGeneration:
    """A model of its own with copies of some weights."""
    model = on_meta(copy.deepcopy(config))
    fill(model, weights.items(), device=device)
    return model


def fill(
    model: JanusFlowForConditionalGeneration,
    weights: Iterable[tuple[str, Tensor]],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> None:
    """Give a model on the meta device copies of all its weights."""
    for name, tensor in weights:
        # Always a copy: what the reader hands out may be a view of a mapped file.
        place(model, name, tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True))
    stored = [parameter for parameter in model.parameters() if not parameter.is_meta]
    widest = reduce(torch.promote_types, {parameter.dtype for parameter in stored})
    for parameter in stored:
        parameter.data = parameter.data.to(widest)
    complete(model, device)


def place(model: nn.Module, name: str, value: Tensor) -> None:
    """Make a tensor the weight of this name; it is not copied."""
    owner, _, leaf = name.rpartition(".")
    parameter = nn.Parameter(value, requires_grad=value.is_floating_point())
    # What transformers draws anew or computes in `complete` is everything without this mark.
    parameter._is_hf_initialized = True  # pyright: ignore[reportAttributeAccessIssue]
    setattr(model.get_submodule(owner), leaf, parameter)


def complete(model: JanusFlowForConditionalGeneration, device: torch.device | str) -> None:
    """Tie what is tied, and compute what no file holds, once every weight is in its place."""
    model.tie_weights()
    _compute_buffers(model, device)
    for config in (model.config, model.config.llm_config, model.config.vision_config):
        config.dtype = model.dtype
    model.eval()


def _stored_shapes(model: JanusFlowForConditionalGeneration) -> dict[str, Shape]:
    """A tied weight is stored once, under its source's name."""
    tied = model.all_tied_weights_keys
    return {name: shape for name, shape in shapes_of(model).items() if name not in tied}


def _compute_buffers(model: JanusFlowForConditionalGeneration, device: torch.device | str) -> None:
    """Rotary frequencies and position indices: `transformers` recomputes what it finds unset."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                module.register_buffer(
                    name, torch.empty_like(buffer, device=device), persistent=False
                )
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise AssertionError(f"{name} was left without a value")
    model.initialize_weights()
