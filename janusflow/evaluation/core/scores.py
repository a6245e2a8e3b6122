"""Named numbers with 95% intervals: shares by Wilson, everything else by bootstrap.

A statistic is a function of column sums (right answers, false alarms, how many there were), so
that resampling is drawing rows of a table anew and summing them. Rows are what was sampled
independently: a prompt with all its images, an image with all its questions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from jaxtyping import Float

from janusflow.config.errors import NotFiniteError

WILSON_Z = 1.96
"""95% of a normal lies within this many standard deviations."""
NUM_RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)

Statistic = Callable[[Float[np.ndarray, "b k"]], Float[np.ndarray, " b"]]
"""Sums of columns, a row each, to the number that is reported."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A named number, which is finite.

    Raises:
        NotFiniteError: it is not.
    """

    name: str
    value: float
    """A share of 1 where `is_share`."""
    num_items: int
    interval: tuple[float, float] | None = None
    num_right: int | None = None
    """Of a share of right items; None where items count in parts."""
    is_share: bool = True

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise NotFiniteError(
                f"{self.name}: got {self.value} of {self.num_items} items, wanted a finite number: "
                "look for what is not finite in their rows or features."
            )


def shares(named: Sequence[tuple[str, bool]]) -> list[Measurement]:
    """One share for each name, in order of first appearance, and one for all."""
    totals = Counter(name for name, _ in named)
    rights = Counter(name for name, is_right in named if is_right)
    counts = [(name, rights[name], total) for name, total in totals.items()]
    return [
        Measurement(
            name=name,
            value=num_right / num_items,
            num_items=num_items,
            interval=wilson_interval(num_right, num_items),
            num_right=num_right,
        )
        for name, num_right, num_items in (*counts, ("all", rights.total(), len(named)))
    ]


def wilson_interval(num_right: int, num_items: int) -> tuple[float, float]:
    """The 95% interval of the true share (Wilson 1927)."""
    n, z, share = num_items, WILSON_Z, num_right / num_items
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    spread = share * (1 - share) / n + z * z / (4 * n * n)
    half = z * spread**0.5 / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def resampled(
    name: str,
    columns: Iterable[Sequence[float]],
    statistic: Statistic,
    *,
    strata: Sequence[str] | None = None,
    is_share: bool = True,
) -> Measurement:
    """A statistic of column sums, a row an independent item, with its bootstrap interval.

    `strata` name every row where a design fixes how many there are of each.
    """
    table = np.array(list(columns), dtype=np.float64)
    value = float(statistic(table.sum(0, keepdims=True))[0])
    measured = Measurement(name=name, value=value, num_items=len(table), is_share=is_share)
    return replace(measured, interval=bootstrap(table, statistic, strata=strata))


def sums_by_item(items: Iterable[tuple[str, float]]) -> list[list[float]]:
    """Of every item, in order of first appearance: the sum of its values, and their number."""
    sums: dict[str, list[float]] = {}
    for item, value in items:
        own = sums.setdefault(item, [0.0, 0.0])
        own[0] += value
        own[1] += 1.0
    return list(sums.values())


def mean_of_groups(name: str, groups: Mapping[str, Sequence[Sequence[float]]]) -> Measurement:
    """The mean of the shares of groups of rows (part, whole); a design fixes how many each has."""
    columns, strata = [], []
    for index, (group, rows) in enumerate(groups.items()):
        before, after = [0.0, 0.0] * index, [0.0, 0.0] * (len(groups) - 1 - index)
        columns += [[*before, *row, *after] for row in rows]
        strata += [group] * len(rows)
    return resampled(
        name, columns, lambda sums: ratio(sums[:, 0::2], sums[:, 1::2]).mean(1), strata=strata
    )


def share_of_sums(
    name: str, columns: Iterable[Sequence[float]], *, is_share: bool = True
) -> Measurement:
    """The first column's sum by the second's, resampled by rows."""
    return resampled(name, columns, lambda sums: ratio(sums[:, 0], sums[:, 1]), is_share=is_share)


def mean(name: str, values: Sequence[float], *, is_share: bool = True) -> Measurement:
    """The mean of independent values."""
    return share_of_sums(name, [(value, 1.0) for value in values], is_share=is_share)


def bootstrap(
    table: Float[np.ndarray, "n k"],
    statistic: Statistic,
    *,
    strata: Sequence[str] | None = None,
) -> tuple[float, float]:
    """The percentile bootstrap's 95% interval (Efron 1979), always the same for the same table."""
    rng = np.random.default_rng(0)
    labels = np.array(["" for _ in table] if strata is None else strata)
    sums = np.zeros((NUM_RESAMPLES, table.shape[1]))
    for label in dict.fromkeys(labels.tolist()):
        rows = table[labels == label]
        for resample in sums:
            drawn = rng.integers(len(rows), size=len(rows))
            resample += np.bincount(drawn, minlength=len(rows)) @ rows
    low, high = np.percentile(statistic(sums), PERCENTILES)
    return float(low), float(high)


def ratio(
    part: Float[np.ndarray, "..."], whole: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Part by whole; 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
