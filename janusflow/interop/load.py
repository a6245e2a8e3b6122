"""Load a model folder, the release's layout or ours, within 1.15 times the bytes of its weights.

The model is built without memory (meta device); then every weight is read, converted and put in
its place by itself, the largest first, so that what is in flight never tops the full model. (For
our own layout too: `from_pretrained` keeps whole files mapped, 1.5 times for bfloat16 to float32.)
"""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.interop.hub import CONFIG
from janusflow.interop.names import (
    Row,
    Shape,
    check_shapes,
    official_shapes,
    row_to_ours,
    rows_of,
)
from janusflow.interop.release_config import config_from_official, is_official
from janusflow.interop.tokens import TokenIds, read_token_ids
from janusflow.interop.weight_files import WeightFiles
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> JanusFlowForConditionalGeneration:
    """Load whichever layout the folder has; `dtype=None` keeps every weight as it is stored.

    Args:
        folder: of the model.
        dtype: of its weights.
        device: where they go.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the config.json.
    """
    model, weights = open_model(folder)
    _fill(model, weights.read(weights.names), dtype, device)
    return model


def open_model(
    folder: str | Path, *, token_ids: TokenIds | None = None, remap: bool = True
) -> tuple[JanusFlowForConditionalGeneration, "StoredWeights"]:
    """A model without memory, and where its weights are read; errors are those of `load_model`.

    `remap=False` suits whoever keeps views of the files (`WeightFiles`).
    """
    folder = Path(folder)
    settings = read_settings(folder)
    if is_official(settings):
        files = WeightFiles(folder, remap=remap)
        ids = token_ids or read_token_ids(folder)
        model = on_meta(config_from_official(settings, token_ids=ids))
        return model, _released(model, files, where=str(folder))
    if settings.get("model_type") != JanusFlowConfig.model_type:
        raise CheckpointError(
            f"{folder}: model_type={settings.get('model_type')!r} in config.json is neither "
            f"{JanusFlowConfig.model_type!r} nor the release's 'multi_modality': pass a JanusFlow."
        )
    files = WeightFiles(folder, remap=remap)
    try:
        model = on_meta(JanusFlowConfig.from_dict(settings))
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: config.json: {error}") from error
    check_shapes(files.shapes, _expected_shapes(model), where=str(folder))
    return model, StoredWeights(files, [Row(official=(n,), ours=(n,)) for n in files.shapes])


def load_official(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    token_ids: TokenIds | None = None,
) -> JanusFlowForConditionalGeneration:
    """Load a folder in the release's layout; `token_ids=None` reads them from its tokenizer."""
    model, weights = open_model(folder, token_ids=token_ids)
    _fill(model, weights.read(weights.names), dtype, device)
    return model


@runtime_checkable
class WeightSource(Protocol):
    """Anything that knows its weights' shapes and can produce each of them."""

    shapes: dict[str, Shape]

    def read(self, name: str) -> Tensor:
        """One weight, which may be a view of something larger."""
        ...


class StoredWeights:
    """Weights under our names, read when they are asked for."""

    def __init__(self, source: WeightSource, rows: Iterable[Row]) -> None:
        self._source = source
        self._row_of = {name: row for row in rows for name in row.ours}

    @property
    def names(self) -> Iterable[str]:
        """All of them."""
        return self._row_of

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """These weights, and what is stored in one with them, the largest first.

        They may be views of a file: copy what is to stay.
        """
        rows = dict.fromkeys(self._row_of[name] for name in names)
        for row in sorted(rows, key=self._size, reverse=True):
            yield from row_to_ours(row, {name: self._source.read(name) for name in row.official})

    def _size(self, row: Row) -> int:
        return sum(torch.Size(self._source.shapes[name]).numel() for name in row.official)


def fill_from_official(
    model: JanusFlowForConditionalGeneration,
    weights: WeightSource,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    where: str = "weights",
) -> None:
    """Give a model, usually one without memory, the weights of the release, one row at a time."""
    released = _released(model, weights, where=where)
    _fill(model, released.read(released.names), dtype, device)


def _released(
    model: JanusFlowForConditionalGeneration, weights: WeightSource, *, where: str
) -> StoredWeights:
    rows = rows_of(model.config)
    check_shapes(weights.shapes, official_shapes(rows, shapes_of(model)), where=where)
    return StoredWeights(weights, rows)


def read_settings(folder: Path) -> dict[str, Any]:
    """The folder's config.json."""
    path = folder / CONFIG
    if not path.is_file():
        what = "no config.json in this folder" if folder.is_dir() else "no such folder"
        raise CheckpointError(
            f"{folder}: {what}: pass a model folder (config.json, weights, tokenizer)."
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not JSON ({error}): download it again.") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: holds a {type(settings).__name__}, not an object.")
    return settings


def read_config(folder: Path) -> JanusFlowConfig:
    """The configuration of the model in a folder, the release's layout or ours."""
    settings = read_settings(folder)
    if is_official(settings):
        return config_from_official(settings, token_ids=read_token_ids(folder))
    return JanusFlowConfig.from_dict(settings)


def shapes_of(model: nn.Module) -> dict[str, Shape]:
    """Shapes of all weights by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def on_meta(config: JanusFlowConfig) -> JanusFlowForConditionalGeneration:
    """A model of names and shapes alone (meta device)."""
    with torch.device("meta"):
        return JanusFlowForConditionalGeneration(config)


def filled_model(
    config: JanusFlowConfig, weights: Mapping[str, Tensor], *, device: torch.device | str
) -> JanusFlowForConditionalGeneration:
    """A model of its own with copies of some weights."""
    model = on_meta(copy.deepcopy(config))
    _fill(model, iter(weights.items()), None, device)
    return model


def _expected_shapes(model: JanusFlowForConditionalGeneration) -> dict[str, Shape]:
    """A tied weight is stored once, under its source's name."""
    tied = model.all_tied_weights_keys
    return {name: shape for name, shape in shapes_of(model).items() if name not in tied}


def _fill(
    model: JanusFlowForConditionalGeneration,
    weights: Iterator[tuple[str, Tensor]],
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> None:
    for name, tensor in weights:
        # Always a copy: what the reader hands out may be a view of a mapped file.
        value = tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True)
        place(model, name, value)
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
    model.config.dtype = model.dtype
    model.eval()


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
