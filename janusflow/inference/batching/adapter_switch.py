"""Which adapters are on between two forwards: requests with the same ones share them.

Knows nothing of threads: only the one that makes steps may switch.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import TypeVar

from torch import nn

from janusflow.tuning.active import adapter_weights, check_adapters, set_adapters

AdapterSet = tuple[tuple[str, float], ...]
"""Names of adapters in the model's order, and their weights; none is the base alone."""
Weights = Mapping[str, float] | None
"""Adapters by name, as a request says them."""
Item = TypeVar("Item")


class AdapterSwitch:
    """Switches a model's adapters, and counts.

    Args:
        model: what is on in it now is on wherever a request does not say what it wants.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.default: AdapterSet = _set_of(adapter_weights(model))
        self.on = self.default
        self.num_switches = 0

    def set_of(self, weights: Weights) -> AdapterSet:
        """What a request wants; from any thread.

        Raises:
            ConfigError: as `check_adapters`.
        """
        if weights is None:
            return self.default
        return tuple((name, float(weights[name])) for name in check_adapters(self.model, weights))

    def turn(self, wanted: AdapterSet) -> None:
        """Have these on, and no others."""
        if wanted != self.on:
            set_adapters(self.model, dict(wanted))
            self.on = wanted
            self.num_switches += 1

    def grouped(
        self, items: Iterable[Item], key: Callable[[Item], AdapterSet]
    ) -> list[tuple[AdapterSet, list[Item]]]:
        """Items by their sets, those of what is on now first: no switch more than is needed."""
        ordered = sorted(items, key=lambda each: (key(each) != self.on, key(each)))
        return [(found, [*group]) for found, group in groupby(ordered, key)]


def _set_of(weights: Mapping[str, float]) -> AdapterSet:
    return tuple((name, weight) for name, weight in weights.items() if weight)
