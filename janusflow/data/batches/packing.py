"""Which samples share a row: no row too long, little padding."""

from collections.abc import Sequence

import numpy as np


def pack(lengths: Sequence[int], *, row_tokens: int) -> list[list[int]]:
    """Share out samples to rows of nearly equal length; returns each row's sample numbers.

    Rows are padded to the longest of them, not to `row_tokens`. Of all numbers of rows up to twice
    the fewest possible, the one that pads least is taken. No sample may be longer than a row.
    """
    fewest = -(-sum(lengths) // row_tokens)
    candidates = [evenly(lengths, num) for num in range(fewest, min(2 * fewest, len(lengths)) + 1)]
    fitting = [rows for rows in candidates if _longest(rows, lengths) <= row_tokens]
    # Twice the fewest always fit: a sample finds no room only where all rows are over half full.
    return min(fitting, key=lambda rows: len(rows) * _longest(rows, lengths))


def evenly(lengths: Sequence[int], num_rows: int) -> list[list[int]]:
    """Longest first, each sample into the row that is emptiest so far (Graham 1969); then swaps.

    As long as it helps, the longest row gives a sample to the shortest for a shorter one.
    """
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    filled = np.zeros(num_rows, dtype=int)
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        emptiest = int(filled.argmin())
        rows[emptiest].append(i)
        filled[emptiest] += lengths[i]
    while True:
        longest, shortest = int(filled.argmax()), int(filled.argmin())
        gap = int(filled[longest] - filled[shortest])
        swaps = [(i, j) for i in rows[longest] for j in rows[shortest]]
        shifts = {(i, j): lengths[i] - lengths[j] for i, j in swaps}
        helpful = [swap for swap in swaps if 0 < shifts[swap] < gap]
        if not helpful:
            return [sorted(row) for row in rows]
        i, j = best = min(helpful, key=lambda swap: abs(gap - 2 * shifts[swap]))
        rows[longest].remove(i)
        rows[shortest].remove(j)
        rows[longest].append(j)
        rows[shortest].append(i)
        filled[longest] -= shifts[best]
        filled[shortest] += shifts[best]


def _longest(rows: list[list[int]], lengths: Sequence[int]) -> int:
    return max(sum(lengths[i] for i in row) for row in rows)
