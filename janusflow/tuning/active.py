"""Adapters inside a model: which are on, with what weights; merged into it, and taken out again.

All of it is peft's layers; nothing is wrapped around the model. What is on is read from the layers
themselves, so that it is true whoever switched them.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, sqrt
from typing import Any

from torch import nn

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.tuning.peft_library import quiet_peft

PARAMETERS = ("weight", "bias")
UNMERGED = "unmerged_"
"""Before either name: the parameter as it was before adapters were merged into it."""
DIGITS = 9
"""Of an adapter's weight: layers hold it times a factor of theirs."""


# ---- on and off -------------------------------------------------------------------------------


def adapter_names(model: nn.Module) -> list[str]:
    """Of all adapters in a model, in the order they came."""
    return [*getattr(model, "peft_config", {})]


def adapter_weights(model: nn.Module) -> dict[str, float]:
    """The weight of every adapter in a model, in the order they came; 0 is off."""
    found = dict.fromkeys(adapter_names(model), 0.0)
    for _, layer in _layers(model):
        for name in () if layer.disable_adapters else layer.active_adapters:
            if name in getattr(layer, "scaling", {}):
                found[name] = float(f"{layer.scaling[name] / _factor(layer, name):.{DIGITS}g}")
            elif name in getattr(layer, "modules_to_save", {}):
                found[name] = 1.0
    return found


def is_merged(model: nn.Module) -> bool:
    """Whether adapters are merged into the weights of the base."""
    return any(layer.merged_adapters for _, layer in _layers(model))


def can_plan(model: Any, weights: Mapping[str, float] | None = None) -> bool:
    """Whether a model has learnt to plan: adapters that are on say so for it, if any does.

    Args:
        model: may have adapters.
        weights: of those that are meant; None is what is on.
    """
    told = [
        (model.peft_config[name].auto_mapping or {}).get("plans")
        for name, weight in (adapter_weights(model) if weights is None else weights).items()
        if weight
    ]
    said = [each for each in told if each is not None]
    return all(said) if said else model.config.plans


def set_adapters(model: nn.Module, weights: Mapping[str, float]) -> None:
    """Switch these adapters on and all others off; their changes are added up, times the weights.

    The order of the names does not change a bit of the result. Nothing is copied, cast or frozen.

    Args:
        model: has the adapters.
        weights: by name; 0 is off, and with none the base is alone.

    Raises:
        ConfigError: as `check_adapters`.
    """
    on = check_adapters(model, weights)
    with kept_flags(model), quiet_peft():
        for _, layer in _layers(model):
            if layer.disable_adapters:
                layer.enable_adapters(True)
            if hasattr(layer, "modules_to_save"):
                layer.set_adapter([name for name in on if name in layer.modules_to_save])
                continue
            layer.set_adapter(on)
            for name in on:
                layer.set_scale(name, weights[name])


def check_adapters(model: nn.Module, weights: Mapping[str, float]) -> list[str]:
    """Those that would be on, in the order they came.

    Raises:
        ConfigError: a name is unknown, a weight is no number, or adapters are merged or cannot be
            on together.
    """
    names = adapter_names(model)
    for name, weight in weights.items():
        if name not in names:
            raise ConfigError(f"adapter {name!r} is not loaded: there is {_listed(names)}.")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
            raise ConfigError(f"adapter {name!r} with weight {weight!r}: wanted a number.")
    refuse_merged(model)
    on = [name for name in names if weights.get(name)]
    _check_together(model, on, weights)
    return on


def _check_together(model: nn.Module, on: Sequence[str], weights: Mapping[str, float]) -> None:
    """Refuse what has no sum: parts that are held in full, and DoRA, which scales the base."""
    configs: Any = getattr(model, "peft_config", {})
    whole = {name for name in on if getattr(configs[name], "use_dora", False)}
    for path, layer in _layers(model):
        held = getattr(layer, "modules_to_save", None)
        own = [name for name in on if name in (layer.scaling if held is None else held)]
        alone = own if held is not None else [name for name in own if name in whole]
        if not alone:
            continue
        kind = "held in full" if held is not None else "changed by DoRA"
        if len(own) > 1:
            raise ConfigError(
                f"adapters {_listed(own)}: {path} is {kind}, so they have no sum: switch on one of "
                "them, or merge one into the base first (janusflow convert BASE DST --adapter A)."
            )
        if weights[alone[0]] != 1:
            raise ConfigError(
                f"adapter {alone[0]!r} with weight {weights[alone[0]]:g}: {path} is {kind}, so its "
                "weight is 0 or 1."
            )


# ---- merging ----------------------------------------------------------------------------------


def merge(model: nn.Module) -> None:
    """Add what is on to the weights of the base, which then runs as fast as without adapters.

    The weights as they were stay in memory, for `unmerge`.

    Raises:
        ConfigError: adapters are merged already, none is on, one is no finite number, or a weight
            is shared with a layer that the adapter does not change.
    """
    on = [name for name, weight in adapter_weights(model).items() if weight]
    refuse_merged(model)
    if not on:
        raise ConfigError(f"no adapter is on of {_listed(adapter_names(model))}: set_adapters.")
    uses = Counter(id(each) for _, each in model.named_parameters(remove_duplicate=False))
    layers = [(path, layer) for path, layer in _layers(model) if set(on) & _present(layer)]
    for path, layer in layers:
        if hasattr(layer, "scaling") and uses[id(layer.get_base_layer().weight)] > 1:
            raise ConfigError(
                f"{path}: its weight is tied to another layer's, which would change too: adapters "
                f"{_listed(on)} cannot be merged. Draw and ask without merging."
            )
    with quiet_peft():
        for path, layer in layers:
            if hasattr(layer, "modules_to_save"):
                layer.merged_adapters = [*layer.active_adapters]  # whole modules: nothing to add
                continue
            base = layer.get_base_layer()
            for name in PARAMETERS:
                value = getattr(base, name, None)
                if value is not None:
                    layer.register_buffer(f"{UNMERGED}{name}", value.data, persistent=False)
            try:
                # What is called safe computes in new memory, and looks for what is not finite.
                layer.merge(safe_merge=True)
            except (ValueError, RuntimeError) as error:
                unmerge(model)
                raise ConfigError(f"{path}: {_listed(on)} cannot be merged ({error}).") from error


def unmerge(model: nn.Module) -> None:
    """Put back the weights from before `merge`, equal to the bit; without it nothing is done."""
    for _, layer in _layers(model):
        for name in PARAMETERS:
            kept = layer._buffers.pop(f"{UNMERGED}{name}", None)
            if kept is not None:
                getattr(layer.get_base_layer(), name).data = kept
        if layer.merged_adapters:
            layer.merged_adapters = []


def merge_and_unload(model: nn.Module) -> None:
    """Merge what is on and take all adapters out: plain layers with changed weights, for good.

    Raises:
        ConfigError: as `merge`.
    """
    merge(model)
    for path, layer in [*_layers(model)]:
        _put(model, path, _plain(layer))
    del model.peft_config


@contextmanager
def plain_modules(model: nn.Module) -> Iterator[None]:
    """A model of plain layers inside the block, whose weights have their own names.

    With merged adapters it has their weights, with none on those of the base.

    Raises:
        CheckpointError: adapters are on that are not merged.
    """
    on = [name for name, weight in adapter_weights(model).items() if weight]
    if on and not is_merged(model):
        raise CheckpointError(
            f"adapters {_listed(on)} are on: merge them first (jf.merge_adapters()), or switch "
            "them off to have the base alone (jf.set_adapters({}))."
        )
    layers, configs = [*_layers(model)], getattr(model, "peft_config", None)
    try:
        for path, layer in layers:
            _put(model, path, _plain(layer))
        if configs is not None:
            del model.peft_config
        yield
    finally:
        for path, layer in layers:
            _put(model, path, layer)
        if configs is not None:
            model.peft_config = configs


# ---- taking out -------------------------------------------------------------------------------


def unload(model: nn.Module, name: str) -> None:
    """Take an adapter out of a model; layers that are left without any are the plain ones again.

    Raises:
        ConfigError: there is no such adapter, or adapters are merged.
    """
    weights = adapter_weights(model)
    if name not in weights:
        raise ConfigError(f"adapter {name!r} is not loaded: there is {_listed(weights)}.")
    refuse_merged(model)
    del weights[name]
    remove(model, name)
    set_adapters(model, weights)


def remove(model: nn.Module, name: str) -> None:
    """Take out all that there is of an adapter, also where it was put in by half."""
    with kept_flags(model), quiet_peft():
        for path, layer in [*_layers(model)]:
            if hasattr(layer, "modules_to_save"):
                layer.delete_adapter(name, new_active_adapters=None)
            else:
                layer.delete_adapter(name)
            if not _present(layer):
                _put(model, path, _plain(layer))
    configs: Any = getattr(model, "peft_config", {})
    configs.pop(name, None)
    if not configs and hasattr(model, "peft_config"):
        del model.peft_config


@contextmanager
def kept_flags(model: nn.Module) -> Iterator[None]:
    """What is frozen stays so, and what is trained too: peft sets these flags as it likes."""
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    finally:
        for weight, flag in flags:
            weight.requires_grad_(flag)


# ---- layers -----------------------------------------------------------------------------------


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers of peft in a model by their paths: those with LoRA, and parts held in full."""
    if "peft" not in sys.modules:
        return
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    for path, module in model.named_modules():
        if isinstance(module, LoraLayer | ModulesToSaveWrapper):
            yield path, module


def _present(layer: Any) -> set[str]:
    """Names of the adapters that a layer has weights of."""
    if hasattr(layer, "modules_to_save"):
        return {*layer.modules_to_save}
    return {*layer.lora_A, *layer.lora_embedding_A}


def _plain(layer: Any) -> nn.Module:
    """What stands for a layer where there is no peft."""
    if not hasattr(layer, "modules_to_save"):
        return layer.base_layer
    on = [name for name in layer.active_adapters if name in layer.modules_to_save]
    return layer.modules_to_save[on[0]] if on else layer.original_module


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Make a module the one at this path."""
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _factor(layer: Any, name: str) -> float:
    """What a layer multiplies an adapter of weight 1 with."""
    rank = layer.r[name]
    return layer.lora_alpha[name] / (sqrt(rank) if layer.use_rslora.get(name) else rank)


def refuse_merged(model: nn.Module) -> None:
    """Refuse to touch adapters that are merged.

    Raises:
        ConfigError: they are.
    """
    if is_merged(model):
        raise ConfigError(
            f"adapters {_listed(adapter_names(model))} are merged: take them out first "
            "(jf.unmerge_adapters())."
        )


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
