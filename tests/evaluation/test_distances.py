"""Distances of sets: closed forms of Gaussians and of points, invariances, and no bias."""

import sys

import pytest
import torch
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.evaluation import distances, tower_distance
from janusflow.evaluation.distances import frechet_distance, kernel_distance

D = 4


def noise(seed: int, n: int, d: int = D) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(seed: int, *, mean: Tensor, factor: Tensor, n: int = 50) -> Tensor:
    """Features whose mean is exactly `mean` and whose covariance is factor factor^T."""
    centred = noise(seed, n)
    centred = centred - centred.mean(0)
    white = torch.linalg.solve(torch.linalg.cholesky(torch.cov(centred.T)), centred.T).T
    return mean + white @ factor.T


def square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T


def test_frechet_of_gaussians_is_the_closed_form_where_covariances_commute():
    means = torch.tensor([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, -1.0, 3.5]], dtype=torch.float64)
    spreads = torch.tensor([[1.0, 2.0, 0.5, 3.0], [2.0, 2.0, 1.5, 0.1]], dtype=torch.float64)
    one, other = (
        gaussian(seed, mean=means[seed], factor=spreads[seed].diag()) for seed in range(2)
    )
    wanted = (means[0] - means[1]).square().sum() + (spreads[0] - spreads[1]).square().sum()
    assert frechet_distance(one, other) == pytest.approx(float(wanted), rel=1e-6)


def test_frechet_of_gaussians_is_the_closed_form_where_they_do_not():
    factors = [noise(10, D), noise(11, D)]
    one, other = (
        gaussian(seed, mean=torch.full((D,), 2.0 * seed), factor=factors[seed], n=60 + seed)
        for seed in range(2)
    )
    first, second = (factor @ factor.T for factor in factors)
    root = square_root(first)
    overlap = square_root(root @ second @ root).trace()
    wanted = 4.0 * D + first.trace() + second.trace() - 2 * overlap
    assert frechet_distance(one, other) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_order_and_direction_change_nothing(distance: object):
    one, other = noise(0, 30), 2 * noise(1, 30) + 1
    assert callable(distance)
    wanted = distance(one, other)
    assert wanted > 0.1
    assert distance(one.flip(0), other.roll(7, 0)) == pytest.approx(wanted, rel=1e-6)
    if distance is frechet_distance:
        assert distance(other, one) == pytest.approx(wanted, rel=1e-6)


def test_frechet_of_a_set_and_itself_is_nothing():
    features = noise(0, 40)
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-6)


def test_kernel_distance_of_two_points_is_the_kernels_own():
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b / len(a) + 1) ** 3

    wanted = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)
    found = kernel_distance(one.expand(5, 2), other.expand(5, 2))
    assert found == pytest.approx(float(wanted), rel=1e-6)


def test_kernel_distance_has_no_bias(monkeypatch: pytest.MonkeyPatch):
    """Sets of eight from one distribution: its mean is 0, far from the biased estimate's."""
    monkeypatch.setattr(distances, "NUM_SUBSETS", 1)
    found = torch.tensor(
        [kernel_distance(noise(2 * i, 8), noise(2 * i + 1, 8)) for i in range(150)]
    )
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean()) < 3 * error
    # V-statistics would add (E k(x, x) - E k(x, y)) / n for each set: 2 (11.5 - 1.75) / 8 = 2.4.
    assert error < 0.3


def test_kernel_distance_is_the_same_again_and_leaves_the_seed_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(distances, "SUBSET_SIZE", 10)
    one, other = noise(0, 40), noise(1, 30)
    state = torch.get_rng_state()
    first = kernel_distance(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert kernel_distance(one, other) == first


def test_without_torchmetrics_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ConfigError, match=r"pip install 'janusflow\[evaluation\]'"):
        frechet_distance(noise(0, 3), noise(1, 3))


def test_it_agrees_with_the_distance_on_our_own_tower_which_needs_no_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 6, generator=generator, dtype=torch.float64) * n for n in (30, 50))
    ours = tower_distance.frechet_distance(a.numpy(), b.numpy())
    assert distances.frechet_distance(a, b) == pytest.approx(ours, rel=1e-6)
