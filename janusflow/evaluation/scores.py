"""Named numbers with 95% intervals: shares by Wilson, everything else by bootstrap.

A statistic is a function of column sums (right answers, false alarms, how many there were), so
that resampling is drawing rows of a table anew and summing them. Rows are what was sampled
independently: a prompt with all its pictures, a picture with all its questions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

WILSON_Z = 1.96
"""95% of a normal lies within this many standard deviations."""
NUM_RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)

Statistic = Callable[[Float[np.ndarray, "b k"]], Float[np.ndarray, " b"]]
"""Sums of columns, a row each, to the number that is reported."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How many of a kind were right."""

    name: str
    num_right: int
    num_items: int

    @property
    def share(self) -> float:
        """Fraction right."""
        return self.num_right / self.num_items

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the true share (Wilson 1927)."""
        n, z = self.num_items, WILSON_Z
        centre = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        spread = self.share * (1 - self.share) / n + z * z / (4 * n * n)
        half = z * spread**0.5 / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)


def tally(named: Sequence[tuple[str, bool]]) -> list[Score]:
    """One score for each name, in order of first appearance, and one for all."""
    totals = Counter(name for name, _ in named)
    rights = Counter(name for name, is_right in named if is_right)
    scores = [Score(name=n, num_right=rights[n], num_items=count) for n, count in totals.items()]
    everything = Score(name="all", num_right=rights.total(), num_items=len(named))
    return [*scores, everything]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A named number."""

    name: str
    value: float
    """A share of 1 where `is_share`."""
    num_items: int
    interval: tuple[float, float] | None = None
    num_right: int | None = None
    """Of a share of right items; None where items count in parts."""
    is_share: bool = True


def as_measurement(score: Score) -> Measurement:
    """A plain share with Wilson's interval."""
    return Measurement(
        name=score.name,
        value=score.share,
        num_items=score.num_items,
        interval=score.interval,
        num_right=score.num_right,
    )


def shares(named: Sequence[tuple[str, bool]]) -> list[Measurement]:
    """One share for each name, in order of first appearance, and one for all."""
    return [as_measurement(score) for score in tally(named)]


def resampled(
    name: str,
    columns: Iterable[Sequence[float]],
    statistic: Statistic,
    *,
    strata: Sequence[str] | None = None,
    is_share: bool = True,
) -> Measurement:
    """A statistic of column sums with its bootstrap interval.

    Args:
        name: of the measurement.
        columns: a row for each independent item.
        statistic: takes column sums.
        strata: of every row, where a design fixes how many there are of each.
        is_share: whether the number is a part of 1.
    """
    table = np.array(list(columns), dtype=np.float64)
    return Measurement(
        name=name,
        value=float(statistic(table.sum(0, keepdims=True))[0]),
        num_items=len(table),
        interval=bootstrap(table, statistic, strata=strata),
        is_share=is_share,
    )


def stratified(
    name: str,
    tables: Mapping[str, Sequence[Sequence[float]]],
    statistic: Statistic,
    *,
    is_share: bool = True,
) -> Measurement:
    """A statistic of several groups' column sums, whose numbers of items a design fixes.

    Args:
        name: of the measurement.
        tables: rows of k columns for every group.
        statistic: takes the groups' sums side by side, k columns each.
        is_share: whether the number is a part of 1.
    """
    before, after = 0, sum(len(rows[0]) for rows in tables.values())
    columns, strata = [], []
    for group, rows in tables.items():
        after -= len(rows[0])
        columns += [[*[0.0] * before, *row, *[0.0] * after] for row in rows]
        strata += [group] * len(rows)
        before += len(rows[0])
    return resampled(name, columns, statistic, strata=strata, is_share=is_share)


def mean(name: str, values: Sequence[float], *, is_share: bool = True) -> Measurement:
    """The mean of independent values."""
    return resampled(
        name,
        [(value, 1.0) for value in values],
        lambda sums: ratio(sums[:, 0], sums[:, 1]),
        is_share=is_share,
    )


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
