"""One line of the parity table: a quantity, how far we may be from it, and how to measure it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

Measure: TypeAlias = Callable[[], float]

FLOAT32 = 1e-4
"""Absolute error allowed to float32 tensors; the issue's bound."""
EXACT = 0.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """`measure` returns the largest absolute error; infinity for another shape."""

    group: str
    quantity: str
    tolerance: float
    measure: Measure
    is_slow: bool = False

    @property
    def name(self) -> str:
        return f"{self.group}: {self.quantity}"


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference; NaN and another shape are infinitely wrong."""
    if got.shape != wanted.shape:
        return float("inf")
    difference = (got.detach().double() - wanted.double()).abs()
    return float(difference.nan_to_num(nan=float("inf")).max()) if difference.numel() else 0.0


def mismatch(got: object, wanted: object) -> float:
    """0 for equal things, infinity otherwise."""
    return 0.0 if got == wanted else float("inf")


def summary_error(got: Tensor, recorded: Mapping[str, Any]) -> float:
    """Error of a tensor of which only shape, mean, energy and first values are recorded."""
    if list(got.shape) != recorded["shape"]:
        return float("inf")
    values = got.detach().double().flatten()
    wanted = [recorded["mean"], recorded["l2"] / len(values) ** 0.5, *recorded["first"]]
    first = values[: len(recorded["first"])]
    return error(
        torch.stack([values.mean(), values.square().mean().sqrt(), *first]),
        torch.tensor(wanted, dtype=torch.float64),
    )
