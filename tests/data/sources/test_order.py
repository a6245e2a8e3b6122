"""The order of samples: a function of the number alone, and yet a shuffle by shares."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janusflow.data.sources.order import counts_before, share_out, shuffled

shares = st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0, 21.0]), min_size=1, max_size=5).filter(any)


@given(shares)
def test_every_prefix_is_split_by_shares_and_counts_never_fall(parts: list[float]):
    counts = [counts_before(n, parts) for n in range(300)]
    assert all(sum(found) == n for n, found in enumerate(counts))
    assert all(
        a <= b for before, after in pairwise(counts) for a, b in zip(before, after, strict=True)
    )
    for n, found in enumerate(counts):
        for part, count in zip(parts, found, strict=True):
            assert abs(count - n * part / sum(parts)) < len(parts)
            assert part > 0 or count == 0


@given(shares)
def test_items_are_numbered_within_who_takes_them(parts: list[float]):
    taken: list[list[int]] = [[] for _ in parts]
    for n in range(200):
        which, ordinal = share_out(n, parts)
        taken[which].append(ordinal)
    assert all(found == list(range(len(found))) for found in taken)
    assert [len(found) for found in taken] == counts_before(200, parts)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("epoch", [0, 1, 12345])
def test_an_epoch_holds_every_row_once(length: int, epoch: int):
    rows = [shuffled(epoch * length + i, length, seed=3) for i in range(length)]
    assert sorted(rows) == list(range(length))


def test_epochs_and_seeds_have_orders_of_their_own_and_neighbours_part():
    orders = {
        (seed, epoch): tuple(shuffled(epoch * 500 + i, 500, seed=seed) for i in range(500))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    for order in orders.values():
        # Of a random order, neighbours are a third of the length apart: standard error 5 here.
        assert np.abs(np.diff(order)).mean() == pytest.approx(500 / 3, abs=25)
