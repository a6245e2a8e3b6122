"""Intervals over seeds: closed forms, Student's quantiles by integration, complete pairs."""

import math

import numpy as np
import pytest
from seeds import (
    MAX_SEEDS,
    T_QUANTILES,
    Interval,
    paired_difference,
    student_interval,
)

from janusflow.config.errors import DataError


def probability_below(t: float, freedom: int) -> float:
    """Student's distribution function, its density integrated by Simpson's rule."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)
    x = np.linspace(0.0, t, 20_001)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    weights = np.ones_like(x)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return 0.5 + float(weights @ density) * (x[1] - x[0]) / 3


@pytest.mark.parametrize("freedom", range(1, len(T_QUANTILES) + 1))
def test_a_quantile_leaves_a_fortieth_above_it(freedom: int):
    below = probability_below(T_QUANTILES[freedom - 1], freedom)
    assert below == pytest.approx(0.975, abs=2e-5)


def test_two_values_have_cauchys_interval():
    """One degree of freedom: half the distance times the tangent of 0.475 pi."""
    interval = student_interval([1.0, 4.0])
    assert interval.mean == 2.5
    assert interval.half_width == pytest.approx(1.5 * math.tan(0.475 * math.pi), rel=1e-4)


def test_three_values_have_the_closed_form_of_two_degrees_of_freedom():
    """There the quantile of p is (2p - 1) / sqrt(2p (1 - p))."""
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)
    interval = student_interval([0.0, 1.0, 5.0])
    half_width = quantile * math.sqrt((4 + 1 + 9) / 2 / 3)
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(half_width, rel=1e-4)
    assert (interval.low, interval.high) == (2 - interval.half_width, 2 + interval.half_width)


def test_95_of_100_intervals_hold_the_true_mean():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (4000, 3))
    held = [abs(i.mean - 3.0) <= i.half_width for i in map(student_interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_what_a_seed_does_to_both_is_not_in_a_paired_interval():
    reference = {0: 10.0, 1: -50.0, 2: 700.0}
    shifted = {seed: value + 1.5 for seed, value in reference.items()}
    interval = paired_difference(shifted, reference)
    assert interval.mean == pytest.approx(1.5)
    assert interval.half_width == pytest.approx(0.0, abs=1e-9)
    assert student_interval(list(shifted.values())).half_width > 100


def test_the_order_of_seeds_does_not_matter():
    values, reference = {0: 1.0, 1: 2.0, 2: 4.0}, {2: 3.0, 0: 1.0, 1: 0.0}
    assert paired_difference(values, reference).mean == pytest.approx((0 + 2 + 1) / 3)
    back = paired_difference(reference, values)
    assert back.mean == pytest.approx(-1.0)
    assert back.half_width == pytest.approx(paired_difference(values, reference).half_width)


def test_a_missing_seed_is_refused_by_its_number():
    with pytest.raises(DataError, match=r"\[0, 2\] against seeds \[0, 1, 2\].*Run what is missing"):
        paired_difference({0: 1.0, 2: 1.0}, {0: 1.0, 1: 1.0, 2: 1.0})


@pytest.mark.parametrize("num", [0, 1, MAX_SEEDS + 1])
def test_too_few_or_too_many_seeds_are_refused(num: int):
    with pytest.raises(DataError, match=f"^{num} seeds: wanted 2 to {MAX_SEEDS}"):
        student_interval([1.0] * num)


@pytest.mark.parametrize(
    ("mean", "half_width", "excludes"),
    [(1.0, 0.9, True), (-1.0, 0.9, True), (1.0, 1.0, False), (0.0, 0.0, False), (0.1, 2.0, False)],
)
def test_an_effect_shows_where_zero_is_outside(mean: float, half_width: float, excludes: bool):
    assert Interval(mean=mean, half_width=half_width).excludes_zero is excludes
