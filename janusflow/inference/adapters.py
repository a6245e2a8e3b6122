"""Adapters as callers name them: `PATH:0.5`, weights by name, a run that left one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NoReturn

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.memory.offload import Offloading
from janusflow.inference.memory.quantization import is_quantized
from janusflow.interop.hub import adapter_at, find_folder, model_in
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.tuning.active import (
    adapter_weights,
    merge,
    merge_and_unload,
    set_adapters,
    unload,
    unmerge,
)
from janusflow.tuning.files import load_adapter
from janusflow.tuning.folder import name_of, read_adapter

FORM = "[NAME=]PATH[:WEIGHT]"
"""How an adapter is typed."""
Adapters = str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None
"""What `janusflow.load` takes: one, several, or several by their names."""


@dataclass(frozen=True, kw_only=True)
class AdapterChoice:
    """One adapter that is wanted."""

    path: str
    """A folder, a run's folder, or a hub id."""
    name: str | None = None
    """None is the folder's own."""
    weight: float = 1.0
    """What its changes are multiplied with."""


def read_adapters(given: Adapters) -> list[AdapterChoice]:
    """What is wanted, in order.

    Raises:
        ConfigError: one is not written as it should be.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [_read(path, str(name)) for name, path in given.items()]
    return [_read(path) for path in ([given] if isinstance(given, str | Path) else given)]


def _read(given: str | Path, name: str | None = None) -> AdapterChoice:
    if not isinstance(given, str | Path):
        raise ConfigError(f"adapter={given!r}: wanted {FORM}.")
    path, weight = str(given), 1.0
    # A folder may have either sign in its name.
    if isinstance(given, str) and not Path(path).exists():
        if name is None and "=" in path:
            name, _, path = path.partition("=")
        before, sign, after = path.rpartition(":")
        if sign and not Path(path).exists():
            path, weight = before, _number(after, given)
    if not path or name == "":
        raise ConfigError(f"adapter={given!r}: wanted {FORM}.")
    return AdapterChoice(path=path, name=name, weight=weight)


def _number(text: str, given: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not isfinite(weight):
        raise ConfigError(f"adapter={given!r}: {text!r} is no weight: wanted {FORM}.")
    return weight


def pair_weights(
    names: str | Sequence[str] | Mapping[str, float], weights: float | Sequence[float] | None
) -> dict[str, float]:
    """The weight of each adapter; the arguments are those of `JanusFlow.set_adapters`.

    Raises:
        ConfigError: there are more or fewer weights than names, or a name comes twice.
    """
    if isinstance(names, Mapping):
        if weights is not None:
            raise ConfigError(f"weights={weights!r} beside weights by name: leave one out.")
        return dict(names)
    each = [names] if isinstance(names, str) else [*names]
    given = [*weights] if isinstance(weights, Sequence) else [1.0 if weights is None else weights]
    if len(given) == 1 and not isinstance(weights, Sequence):
        given *= len(each)
    if len(given) != len(each):
        raise ConfigError(f"{len(given)} weights for {len(each)} adapters: give one each.")
    if len(set(each)) < len(each):
        raise ConfigError(f"adapters {', '.join(each)}: name each once.")
    return dict(zip(each, given, strict=True))


def base_of(
    model: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> tuple[str | Path, list[AdapterChoice]]:
    """A model's name, or where it names an adapter, the base's name and the adapter.

    Raises:
        CheckpointError: the adapter does not say what its base is, or that is not found.
    """
    folder = find_folder(model, revision=revision, token=token)
    if model_in(folder) or adapter_at(folder) is None:
        return model, []
    base = read_adapter(model, revision=revision, token=token).base
    advice = f"name the base, and --adapter {model} (adapter=)"
    if not base:
        raise CheckpointError(f"{model}: an adapter that does not name its base: {advice}.")
    try:
        find_folder(base)
    except CheckpointError as error:
        told = f"{model}: an adapter whose base is not found: {advice}. {error}"
        raise CheckpointError(told) from error
    return base, [AdapterChoice(path=str(model), name=name_of(model))]


def merge_adapters(
    model: JanusFlowForConditionalGeneration, choices: Sequence[AdapterChoice]
) -> None:
    """Load adapters onto a model and merge them into it for good.

    Raises:
        CheckpointError, ConfigError: as `load_adapter` and `merge`.
    """
    for each in choices:
        load_adapter(model, each.path, name=each.name or name_of(each.path), weight=each.weight)
    merge_and_unload(model)


def refuse_adapters(what: str) -> NoReturn:
    """Say what to do with an adapter where weights are quantized or offloaded.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"an adapter with {what}=: its layers need the weights in memory as they are. Merge it "
        "first (janusflow convert BASE DST --adapter PATH), and load DST so."
    )


class AdapterMixin:
    """What `JanusFlow` does with adapters, by the names of diffusers and peft."""

    model: JanusFlowForConditionalGeneration
    offloading: Offloading | None

    @property
    def adapters(self) -> dict[str, float]:
        """Names of the adapters that are loaded, in order, and their weights; 0 is off."""
        return adapter_weights(self.model)

    def load_adapter(
        self,
        adapter: str | Path,
        name: str | None = None,
        *,
        weight: float = 1.0,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Load an adapter of this model, and switch it on beside those that are on.

        Args:
            adapter: its folder, a run's, or a hub id.
            name: what it is called from now on; None is its folder's name.
            weight: what its changes are multiplied with; 0 leaves it off.
            revision: branch, tag or commit of a hub id.
            token: for a hub id that is not public.

        Returns:
            The name.

        Raises:
            CheckpointError: it is missing, damaged, or another model's.
            ConfigError: the model is quantized or offloaded, or the name is taken.
        """
        if self.offloading is not None or is_quantized(self.model):
            refuse_adapters("quantize" if self.offloading is None else "offload")
        name = name_of(adapter) if name is None else name
        load_adapter(self.model, adapter, name=name, weight=weight, revision=revision, token=token)
        return name

    def set_adapters(
        self,
        names: str | Sequence[str] | Mapping[str, float],
        weights: float | Sequence[float] | None = None,
    ) -> None:
        """Switch these adapters on and all others off: `{}` or `[]` is the base alone.

        Args:
            names: one, several, or weights by name.
            weights: one for all, or one each; None is 1. With several the changes are added up.

        Raises ConfigError where one is not loaded, or they cannot be on together.
        """
        set_adapters(self.model, pair_weights(names, weights))

    def merge_adapters(self) -> None:
        """Add what is on to the weights: as fast as without adapters, until `unmerge_adapters`."""
        merge(self.model)

    def unmerge_adapters(self) -> None:
        """Put the weights back that `merge_adapters` found, to the bit."""
        unmerge(self.model)

    def unload_adapter(self, name: str) -> None:
        """Take an adapter out of the model; without any it is as it was loaded."""
        unload(self.model, name)
