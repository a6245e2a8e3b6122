"""Runs that differ by their seed alone: means, paired differences, Student's 95% intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import mean, stdev

from janusflow.config.errors import DataError

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5% quantiles of Student's t with 1, 2, ... degrees of freedom."""
NORMAL_QUANTILE = 1.960
MAX_SEEDS = len(T_QUANTILES) + 1


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds, and where 95% of such intervals hold the true one."""

    mean: float
    half_width: float

    def at_least(self, variance: float) -> "Interval":
        """Widened to the normal interval of this variance, where it is narrower by coincidence."""
        return replace(self, half_width=max(self.half_width, NORMAL_QUANTILE * sqrt(variance)))

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether all of it lies on one side of 0."""
        return self.low > 0 or self.high < 0


def student_interval(values: Sequence[float]) -> Interval:
    """The mean of a few independent values with its t-interval (Student 1908).

    Raises:
        DataError: there are fewer values than 2, or more than MAX_SEEDS.
    """
    if not 2 <= len(values) <= MAX_SEEDS:
        raise DataError(
            f"{len(values)} seeds: wanted 2 to {MAX_SEEDS}, for one run says nothing of chance. "
            "Run more, or fewer."
        )
    half_width = T_QUANTILES[len(values) - 2] * stdev(values) / sqrt(len(values))
    return Interval(mean=mean(values), half_width=half_width)


def sampling_variance(shares: Sequence[float], *, items: int) -> float:
    """Variance of a mean of shares that is owed to so few items, each right or wrong, in each run.

    By Agresti and Coull (1998): two more right and two more wrong, so that 0 and 1 have one too.
    """
    num = items * len(shares)
    right = (mean(shares) * num + 2) / (num + 4)
    return right * (1 - right) / (num + 4)


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Interval:
    """How much larger values are than the reference's of the same seeds.

    What a seed does to both alike, say the images it picks, is not in the interval.

    Raises:
        DataError: one of both lacks a seed of the other.
    """
    if values.keys() != reference.keys():
        raise DataError(
            f"seeds {sorted(values)} against seeds {sorted(reference)}: wanted the same of both. "
            "Run what is missing."
        )
    return student_interval([values[seed] - reference[seed] for seed in sorted(values)])
