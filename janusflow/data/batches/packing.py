"""Which samples share a row, and which a process: no row too long, little padding and waiting."""

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
    """Longest first, each sample into the row that is emptiest so far (Graham 1969); then swaps."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    filled = np.zeros(num_rows, dtype=int)
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        emptiest = int(filled.argmin())
        rows[emptiest].append(i)
        filled[emptiest] += lengths[i]
    return swapped(rows, lengths)


def swapped(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[list[int]]:
    """Rows of the same numbers of samples as these, more even in length.

    As long as it helps, the longest row gives a sample to the shortest for a shorter one.
    """
    rows, sizes = [list(row) for row in rows], np.asarray(lengths)
    filled = np.array([sizes[row].sum() for row in rows])
    while gap := filled.max() - filled.min():
        longest, shortest = int(filled.argmax()), int(filled.argmin())
        shifts = sizes[rows[longest]][:, None] - sizes[rows[shortest]]
        left = np.where((shifts > 0) & (shifts < gap), np.abs(gap - 2 * shifts), gap)
        i, j = np.unravel_index(left.argmin(), left.shape)
        if left[i, j] == gap:
            break
        given, taken = rows[longest].pop(i), rows[shortest].pop(j)
        rows[longest].append(taken)
        rows[shortest].append(given)
        filled[longest] -= shifts[i, j]
        filled[shortest] += shifts[i, j]
    return [sorted(row) for row in rows]


def balanced(
    parts: Sequence[Sequence[Sequence[int]]], lengths: Sequence[int]
) -> list[list[list[int]]]:
    """A step's samples shared out anew, so that no process waits long for the one with most tokens.

    Processes swap as few samples as even tokens take. Each then makes its micro-batches even, and
    learns the longest first: those that run at the same time are about as long.

    Args:
        parts: sample numbers by process and micro-batch; as many micro-batches in each process.
        lengths: tokens of each sample.
    """
    owned = [[i for part in process for i in part] for process in parts]
    shares = []
    for process, own in zip(parts, swapped(owned, lengths), strict=True):
        bins = evenly([lengths[i] for i in own], len(process))
        micro_batches = [[own[i] for i in numbers] for numbers in bins]
        shares.append(
            sorted(micro_batches, key=lambda part: sum(lengths[i] for i in part), reverse=True)
        )
    return shares


def _longest(rows: list[list[int]], lengths: Sequence[int]) -> int:
    return max(sum(lengths[i] for i in row) for row in rows)
