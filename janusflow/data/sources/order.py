"""Who takes the n-th item of a stream, and which row that is: functions of n, so nothing is kept.

A run that resumes at any step, in any number of processes, therefore goes on with the very rows it
would have gone on with.
"""

from collections.abc import Sequence
from math import floor

NUM_ROUNDS = 4
MASK = (1 << 64) - 1


def counts_before(n: int, shares: Sequence[float]) -> list[int]:
    """How many of the first n items each of several takes, by its share.

    The first takes floor(n p) of them, the next by its share of what is left, and so on: whole
    numbers that add up to n, never fall as n grows, and stay close to their shares.
    """
    last = max(i for i, share in enumerate(shares) if share > 0)
    left, counts = sum(shares), []
    for i, share in enumerate(shares):
        taken = n if i == last else floor(n * min(share / left, 1.0)) if share else 0
        counts.append(taken)
        n, left = n - taken, left - share
    return counts


def share_out(n: int, shares: Sequence[float]) -> tuple[int, int]:
    """Which of several takes item n, counted from 0, and how many it took before."""
    before, after = counts_before(n, shares), counts_before(n + 1, shares)
    which = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if b > a)
    return which, before[which]


def shuffled(n: int, length: int, *, seed: int) -> int:
    """Row of item n in an endless shuffle: all rows once, then all again in another order."""
    epoch, place = divmod(n, length)
    key = _mixed(_mixed(seed) ^ epoch)
    half_bits = max(1, ((length - 1).bit_length() + 1) // 2)
    # A Feistel network permutes the numbers of an even number of bits; those beyond the table walk
    # on to one inside (Black and Rogaway 2002).
    while True:
        left, right = place >> half_bits, place & ((1 << half_bits) - 1)
        for round_number in range(NUM_ROUNDS):
            scrambled = _mixed(key ^ _mixed(right * NUM_ROUNDS + round_number))
            left, right = right, left ^ (scrambled & ((1 << half_bits) - 1))
        place = left << half_bits | right
        if place < length:
            return place


def _mixed(x: int) -> int:
    """SplitMix64's finaliser: every bit of x sways every bit of the result."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)
