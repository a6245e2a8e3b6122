"""Bootstrap intervals behave as intervals should."""

import numpy as np
import pytest

from janusflow.evaluation.scores import bootstrap, mean, ratio, resampled


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
