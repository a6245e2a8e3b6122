"""Adapters between a model and their folder: peft's files, written whole, loaded strictly."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.interop.saving import whole_or_nothing
from janusflow.tuning.active import (
    adapter_names,
    adapter_weights,
    kept_flags,
    refuse_merged,
    remove,
    set_adapters,
)
from janusflow.tuning.checks import check_base, check_names, check_values, lora_config, some_of
from janusflow.tuning.digest import base_digest
from janusflow.tuning.folder import PREFIX, WEIGHTS, AdapterFolder, read_adapter
from janusflow.tuning.peft_library import quiet_peft, require_peft

CARD = """\
---
base_model: {base}
library_name: peft
tags: [janusflow, lora]
---
An adapter of {base}: `janusflow.load("{base}", adapter=FOLDER)`, or
`peft.PeftModel.from_pretrained(janusflow.load("{base}").model, FOLDER)`.
"""
TOLD_DIGITS = 12
"""Of a digest in an image's record."""
FILE_DIGEST = "file_sha256"
"""What the digest of an adapter's file is called in its settings within a model."""


def save_adapter(
    model: Any,
    folder: Path,
    *,
    name: str = "default",
    base: str,
    digest: str | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write an adapter of a model as peft does: settings, weights and a card; whole or not at all.

    Args:
        model: has the adapter, not merged.
        folder: made, or its files are replaced.
        name: of the adapter in the model.
        base: what the base is called: `mini`, a folder or a hub id.
        digest: `base_digest` of the base, where its weights are not at hand; None computes it.
        weights: the model's `state_dict`, where it is spread over processes; None asks the model.

    Raises:
        ConfigError: there is no such adapter, or adapters are merged.
    """
    if name not in adapter_names(model):
        raise ConfigError(f"adapter {name!r} is not in the model: {some_of(adapter_names(model))}.")
    refuse_merged(model)
    from peft import get_peft_model_state_dict

    with quiet_peft():
        found = get_peft_model_state_dict(
            model,
            state_dict=None if weights is None else dict(weights),
            adapter_name=name,
            save_embedding_layers=False,
        )
    # Copies: weights that share memory are refused by safetensors.
    stored = {f"{PREFIX}{key}": each.cpu().contiguous().clone() for key, each in found.items()}
    config = copy.copy(model.peft_config[name])
    config.base_model_name_or_path, config.inference_mode = base, True
    # Whole paths: peft shortens them to what is enough in this model, and in another may be not.
    config.target_modules = sorted({key.partition(".lora_")[0] for key in found if ".lora_" in key})
    origin = {
        "base_model_class": type(model).__name__,
        "parent_library": type(model).__module__,
        "base_digest": digest or base_digest(model),
        "plans": bool(model.config.plans),
    }
    with whole_or_nothing(folder) as unfinished:
        save_file(stored, unfinished / WEIGHTS[0], metadata={"format": "pt"})
        config.save_pretrained(str(unfinished), auto_mapping_dict=origin)
        (unfinished / "README.md").write_text(CARD.format(base=base), encoding="utf-8")


def load_adapter(
    model: Any,
    folder: str | Path,
    *,
    name: str,
    weight: float = 1.0,
    revision: str | None = None,
    token: str | bool | None = None,
) -> AdapterFolder:
    """Put an adapter into a model, and switch it on beside those that are on.

    Its weights are float32 and frozen; those of parts held in full have the base's dtype. Where
    anything does not fit, the model is left as it was.

    Args:
        model: the base that the adapter was made for; it may have other adapters.
        folder: of the adapter, a run's, or a hub id.
        name: what it is called from now on.
        weight: what its changes are multiplied with; 0 leaves it off.
        revision: branch, tag or commit of a hub id.
        token: for a hub id that is not public.

    Returns:
        What was read.

    Raises:
        CheckpointError: there is no adapter, it is damaged, of another base, or does not fit.
        ConfigError: peft is missing, the name is taken, or it cannot be on beside the others.
    """
    require_peft()
    refuse_merged(model)
    check_name(model, name)
    source = read_adapter(folder, revision=revision, token=token)
    config = lora_config(source)
    check_base(model, source)
    weights, before = source.weights(), adapter_weights(model)
    check_values(source, weights)
    _check_apart(model, source, weights)
    try:
        with kept_flags(model), quiet_peft(), torch.random.fork_rng([]):
            _inject(model, source, config, name)
            _check_apart(model, source, {})
            _fill(model, source, weights, name)
        set_adapters(model, before | {name: weight})
    except BaseException:
        remove(model, name)
        set_adapters(model, before)
        raise
    setattr(model.peft_config[name], FILE_DIGEST, source.digest)
    return source


def adapter_digest(model: Any, name: str) -> str | None:
    """SHA-256 of the weights' file that an adapter was loaded from; None if it was made here."""
    return getattr(model.peft_config[name], FILE_DIGEST, None)


def described_adapters(model: Any) -> str | None:
    """What is on in words: name, weight, and the digest's beginning; None for the base alone."""
    told = []
    for name, weight in adapter_weights(model).items():
        digest = adapter_digest(model, name) if weight else None
        if weight:
            told.append(f"{name}:{weight:g}" + (f" ({digest[:TOLD_DIGITS]})" if digest else ""))
    return ", ".join(told) or None


def check_name(model: Any, name: str) -> None:
    """Refuse a name that peft could not tell from a layer's: it puts it into weights' names.

    Raises:
        ConfigError: it cannot be, or is taken.
    """
    if name in adapter_names(model):
        raise ConfigError(f"adapter {name!r} is loaded already: give this one another name.")
    parts = {part for path, _ in model.named_modules() for part in path.split(".")}
    if not name or "." in name or "lora_" in name or name in parts:
        raise ConfigError(
            f"adapter name {name!r}: wanted one without dots and lora_, that is no layer's name."
        )


def _inject(model: Any, source: AdapterFolder, config: Any, name: str) -> None:
    """Put the layers of an adapter in place, in float32."""
    from peft import inject_adapter_in_model
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import cast_adapter_dtype

    began, config.init_lora_weights, config.inference_mode = config.init_lora_weights, True, True
    with _explained(source):
        inject_adapter_in_model(config, model, adapter_name=name)
    config.init_lora_weights = began
    cast_adapter_dtype(model, adapter_name=name)
    layers: list[Any] = [each for each in model.modules() if isinstance(each, LoraLayer)]
    for layer in layers:
        layer.train(layer.get_base_layer().training)  # new ones would drop out


def _fill(model: Any, source: AdapterFolder, weights: Mapping[str, Tensor], name: str) -> None:
    """Give an adapter its weights, each of which has its place."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    wanted = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    weights = _without_base(model, source, weights)
    check_names(source, weights, wanted)
    with _explained(source):
        result = set_peft_model_state_dict(model, weights, adapter_name=name)
    if result.unexpected_keys:
        names = some_of(result.unexpected_keys)
        raise CheckpointError(f"{source.folder}: peft found no place for {names}.")


def _without_base(
    model: Any, source: AdapterFolder, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Without embeddings of the base, which peft writes beside their adapters."""
    kept, suffix = dict(weights), ".base_layer.weight"
    for key in [key for key in kept if key.endswith(suffix)]:
        stored, path = kept.pop(key), key.removesuffix(".weight")
        try:
            own = model.get_submodule(path).weight
        except AttributeError:
            own = None
        if own is None or own.shape != stored.shape or not torch.equal(stored.to(own), own):
            raise CheckpointError(
                f"{source.folder}: holds {key.removesuffix(suffix)} of its base, which differs "
                "from this model's: an adapter of another base."
            )
    return kept


def _check_apart(model: Any, source: AdapterFolder, weights: Mapping[str, Tensor]) -> None:
    """Refuse an adapter within a part that another one holds in full, of those in the model.

    And of one with these weights, which is still to be put in.
    """
    modules = [*model.named_modules()]
    inside = [path for path, module in modules if hasattr(module, "lora_A")]
    inside += [name for name in weights if ".lora_" in name]
    for part in [path for path, module in modules if hasattr(module, "modules_to_save")]:
        if any(path.startswith(f"{part}.") for path in inside):
            raise CheckpointError(
                f"{source.folder}: {part} is held in full by one adapter and changed within by "
                "another: merge one into the base first (janusflow convert BASE DST --adapter A)."
            )


@contextmanager
def _explained(source: AdapterFolder) -> Iterator[None]:
    """What peft refuses, in one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{source.folder}: does not fit this model ({reason:.300})."
        ) from error
