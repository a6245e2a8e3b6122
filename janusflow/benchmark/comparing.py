"""How far the outputs of the two sides lie apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from janusflow.benchmark.cases import ALL_CASES, Answer
from janusflow.benchmark.worker import OFFICIAL, OURS

TOLERANCES = {"velocity": 1e-4, "levels": 1.0, "token_ids": 0.0}
"""Largest difference of outputs that are called equal: velocities in float32 (of about 1), levels
of 255 (both sides round), ids."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Between two arrays of the same name."""

    name: str
    largest: float
    """Absolute; infinite where shapes differ or values are no numbers."""
    relative: float
    """Root mean square of the difference over that of the authors' array."""

    @property
    def is_equal(self) -> bool:
        """Within what is called equal for this output."""
        return self.largest <= TOLERANCES[self.name]

    def worse(self, other: "Difference | None") -> "Difference":
        """The larger of two."""
        return self if other is None or self.largest >= other.largest else other


def difference(name: str, found: np.ndarray, wanted: np.ndarray) -> Difference:
    """Compare two arrays; whole numbers and levels as they are."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return Difference(name=name, largest=np.inf, relative=np.inf)
    apart, size = np.subtract(found, wanted, dtype=float), np.asarray(wanted, dtype=float)
    scale = float(np.sqrt(np.square(size).mean()))
    return Difference(
        name=name,
        largest=float(np.abs(apart).max(initial=0.0)),
        relative=float(np.sqrt(np.square(apart).mean())) / scale if scale else 0.0,
    )


def read_arrays(answer: Answer) -> dict[str, np.ndarray]:
    """An answer's arrays."""
    assert answer.outputs is not None
    with np.load(Path(answer.outputs)) as file:
        return dict(file)


def compare(found: Mapping[tuple[str, str], Answer]) -> dict[str, Difference]:
    """The outputs of one round, by label, where both sides gave some that are to be equal."""
    differences: dict[str, Difference] = {}
    for label, side in found:
        is_compared = ALL_CASES[label.partition(",")[0]].is_compared
        if side != OURS or not is_compared or (label, OFFICIAL) not in found:
            continue
        ours, theirs = (read_arrays(found[label, side]) for side in (OURS, OFFICIAL))
        (name,) = ours
        differences[label] = difference(name, ours[name], theirs[name])
    return differences
