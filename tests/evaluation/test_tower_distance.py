"""The Frechet distance is that of two normal distributions; features survive being kept."""

import numpy as np
import pytest

from janusflow.evaluation.shapes import wishes
from janusflow.evaluation.tower_distance import Tower, as_text, frechet_distance, from_texts
from janusflow.mini.render import render


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_one_axis_has_the_closed_form(rng: np.random.Generator):
    """Two normals on a line: (difference of means)^2 + (difference of deviations)^2."""
    a, b = rng.normal(1.0, 2.0, (50, 1)), rng.normal(-3.0, 0.5, (70, 1))
    a, b = np.hstack([a, np.zeros_like(a)]), np.hstack([b, np.zeros_like(b)])
    wanted = (a.mean() - b.mean()) ** 2 * 4 + (a[:, 0].std(ddof=1) - b[:, 0].std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_many_axes_agree_with_the_nuclear_norm(rng: np.random.Generator):
    """tr (A B)^(1/2) is the sum of singular values of one centred set times the other."""
    a, b = (rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)) for n in (40, 9))
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    spread = sum((x**2).sum() for x in centred)
    shared = np.linalg.norm(centred[0] @ centred[1].T, ord="nuc")
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + spread - 2 * shared
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(wanted, rel=1e-9)


def test_it_is_none_for_one_set_and_the_square_of_a_shift(rng: np.random.Generator):
    a = rng.normal(size=(30, 8)).astype(np.float32)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(a, a + 2.0) == pytest.approx(8 * 4.0, rel=1e-5)


def test_features_are_of_each_picture_alone_and_stay_when_kept():
    tower = Tower()
    pictures = [render(wish.scene) for wish in wishes("two", 5, seed=1)]
    together = tower.features(pictures)
    for picture, features in zip(pictures, together, strict=True):
        np.testing.assert_allclose(tower.features([picture])[0], features, atol=1e-4)
    kept = from_texts([as_text(features) for features in together])
    np.testing.assert_allclose(kept, together, rtol=2**-10, atol=1e-6)
    assert tower.fingerprint == Tower().fingerprint


def test_wrong_pictures_are_further_than_true_ones_drawn_anew():
    tower, rng = Tower(), np.random.default_rng(0)
    asked = wishes("single", 30, seed=1)
    truth, anew, others = (
        tower.features([render(wish.scene) for wish in some])
        for some in (asked, [w.arranged_anew(rng) for w in asked], wishes("counting", 30, seed=1))
    )
    assert frechet_distance(anew, truth) < frechet_distance(others, truth)
