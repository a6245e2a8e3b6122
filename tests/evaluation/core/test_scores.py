"""Intervals behave as intervals should: Wilson's of shares, and the bootstrap's."""

from math import sqrt

import numpy as np
import pytest

from janusflow.config.errors import NotFiniteError
from janusflow.evaluation.core.scores import (
    WILSON_Z,
    Measurement,
    bootstrap,
    mean,
    ratio,
    resampled,
    shares,
    wilson_interval,
)


def share(sums: np.ndarray) -> np.ndarray:
    return ratio(sums[:, 0], sums[:, 1])


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval():
    """For many items both are mean +- 1.96 standard errors."""
    values = np.random.default_rng(0).random(2000)
    measured = mean("x", values.tolist())
    error = values.std() / np.sqrt(len(values))
    assert measured.interval is not None
    wanted = (values.mean() - 1.96 * error, values.mean() + 1.96 * error)
    assert measured.interval == pytest.approx(wanted, abs=0.3 * error)
    assert measured.value == pytest.approx(values.mean())


def test_what_is_always_the_same_has_no_spread_and_one_table_one_interval():
    assert mean("x", [0.5] * 9).interval == (0.5, 0.5)
    values = np.random.default_rng(1).random(50).tolist()
    assert mean("x", values) == mean("x", values)


def test_strata_keep_their_sizes():
    """A stratum that is all right and one that is all wrong leave no spread in all."""
    table = np.array([[1.0, 1.0]] * 10 + [[0.0, 1.0]] * 10)
    strata = ["a"] * 10 + ["b"] * 10
    assert bootstrap(table, share, strata=strata) == (0.5, 0.5)
    low, high = bootstrap(table, share)
    assert low < 0.5 < high


def test_a_ratio_of_sums_is_no_mean_of_ratios():
    measured = resampled("x", [(1.0, 1.0), (0.0, 3.0)], share)
    assert measured.value == 0.25
    assert ratio(np.array([1.0]), np.array([0.0])) == [0.0]


# ---- shares -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_right", "num_items", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (50, 100, 0.4038, 0.5962),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(num_right: int, num_items: int, low: float, high: float):
    assert wilson_interval(num_right, num_items) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("num_right", "num_items"), [(1, 3), (270, 300), (299, 300), (7, 50)])
def test_the_interval_ends_where_the_share_is_just_z_deviations_away(
    num_right: int, num_items: int
):
    """Its definition: |share - p| = z sqrt(p (1 - p) / n) at both ends."""
    for end in wilson_interval(num_right, num_items):
        deviation = sqrt(end * (1 - end) / num_items)
        assert abs(num_right / num_items - end) == pytest.approx(WILSON_Z * deviation, rel=1e-9)


def test_shares_count_by_name_and_in_all():
    named = [("b", True), ("a", False), ("b", False), ("a", False), ("b", True)]
    counted = [(s.name, s.num_right, s.num_items) for s in shares(named)]
    assert counted == [("b", 2, 3), ("a", 0, 2), ("all", 2, 5)]
    assert [s.value for s in shares(named)] == pytest.approx([2 / 3, 0, 0.4])
    assert [s.interval for s in shares(named)] == [wilson_interval(*c[1:]) for c in counted]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_no_score(value: float):
    with pytest.raises(NotFiniteError, match=f"FID: got {value} of 3 items, wanted a finite"):
        Measurement(name="FID", value=value, num_items=3)
    with pytest.raises(NotFiniteError, match="CLIP score: got"):
        mean("CLIP score", [1.0, value], is_share=False)
