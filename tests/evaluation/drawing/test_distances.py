"""Distances of sets: closed forms of Gaussians and of points, invariances, and torchmetrics."""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from janusflow.evaluation.drawing import distances
from janusflow.evaluation.drawing.distances import frechet_distance, kernel_distance


def noise(seed: int, n: int, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def gaussian(seed: int, *, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Features whose mean and axes' deviations are exactly these."""
    centred = noise(seed, 50, len(mean))
    centred = centred - centred.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(centred.T)), centred.T).T
    return mean + white * spread


def test_frechet_of_gaussians_is_the_closed_form_where_covariances_commute():
    means = np.array([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, -1.0, 3.5]])
    spreads = np.array([[1.0, 2.0, 0.5, 3.0], [2.0, 2.0, 1.5, 0.1]])
    one, other = (gaussian(i, mean=means[i], spread=spreads[i]) for i in range(2))
    wanted = ((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum()
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-9)


def test_frechet_of_many_axes_agrees_with_the_nuclear_norm():
    """tr (A B)^(1/2) is the sum of singular values of one centred set times the other."""
    a, b = (noise(n, n, 6) @ noise(n + 1, 6, 6) for n in (40, 9))
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    spread = sum((x**2).sum() for x in centred)
    shared = np.linalg.norm(centred[0] @ centred[1].T, ord="nuc")
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + spread - 2 * shared
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_frechet_is_none_for_one_set_and_the_square_of_a_shift():
    a = noise(0, 30, 8).astype(np.float32)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(a, a + 2.0) == pytest.approx(8 * 4.0, rel=1e-5)


def test_order_and_direction_change_nothing():
    one, other = noise(0, 30), 2 * noise(1, 30) + 1
    for distance in (frechet_distance, kernel_distance):
        wanted = distance(one, other)
        assert wanted > 0.1
        # All thirty are in every subset.
        assert distance(one[::-1], np.roll(other, 7, 0)) == pytest.approx(wanted, rel=1e-6)
        assert distance(other, one) == pytest.approx(wanted, rel=1e-6)


def test_kernel_distance_of_two_points_is_the_kernels_own():
    one, other = np.array([1.0, 2.0]), np.array([0.0, 3.0])

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / len(a) + 1) ** 3

    wanted = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)
    found = kernel_distance(np.tile(one, (5, 1)), np.tile(other, (5, 1)))
    assert found == pytest.approx(wanted, rel=1e-9)


def test_kernel_distance_has_no_bias(monkeypatch: pytest.MonkeyPatch):
    """Sets of eight from one distribution: its mean is 0, far from the biased estimate's."""
    monkeypatch.setattr(distances, "NUM_SUBSETS", 1)
    found = np.array([kernel_distance(noise(2 * i, 8), noise(2 * i + 1, 8)) for i in range(150)])
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean()) < 3 * error
    # V-statistics would add (E k(x, x) - E k(x, y)) / n for each set: 2 (11.5 - 1.75) / 8 = 2.4.
    assert error < 0.3


def test_kernel_distance_is_the_mean_over_subsets_and_the_same_again(
    monkeypatch: pytest.MonkeyPatch,
):
    one, other = noise(0, 40), noise(1, 30) + 1
    whole = kernel_distance(one, other[:30])
    monkeypatch.setattr(distances, "SUBSET_SIZE", 10)
    first = kernel_distance(one, other)
    assert first == kernel_distance(one, other)
    assert first == pytest.approx(whole, rel=0.3)


class AsTheyAre(nn.Module):
    """Stands for torchmetrics' network where features are there already."""

    num_features = 6

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_both_agree_with_torchmetrics():
    a, b = noise(0, 30, 6) * 3, noise(1, 50, 6) + 1
    metrics = (
        (frechet_distance, FrechetInceptionDistance(feature=AsTheyAre())),
        (kernel_distance, KernelInceptionDistance(AsTheyAre(), subsets=1, subset_size=30)),
    )
    for distance, metric in metrics:
        small = b[:30] if distance is kernel_distance else b
        metric.update(torch.from_numpy(small), real=True)
        metric.update(torch.from_numpy(a), real=False)
        found = metric.compute()
        wanted = found[0] if isinstance(found, tuple) else found
        assert distance(a, small) == pytest.approx(float(wanted), rel=1e-5)
