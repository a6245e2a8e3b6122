"""Where samples come from: a source is rows that each make one sample."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from tqdm import tqdm

from janusflow.config.errors import DataError, ImageError, PromptError
from janusflow.config.files import JsonLines
from janusflow.data.order import share_out, shuffled
from janusflow.data.samples import Sample

T = TypeVar("T")

BAD_ROW_ERRORS = (DataError, ImageError, PromptError)
ENOUGH_TO_JUDGE = 100
"""Rows tried before the share of bad ones is judged by their number."""
MAX_BAD_IN_TURN = 1000
"""Rows of a stream that may be bad one after another."""


@runtime_checkable
class Source(Protocol):
    """Rows of one origin and one kind."""

    @property
    def name(self) -> str:
        """What messages call it, e.g. its file."""
        ...

    def __len__(self) -> int: ...

    def sample(self, row: int, rng: np.random.Generator) -> Sample:
        """Make the row's sample; all choices come from the generator.

        Raises:
            DataError, ImageError, PromptError: the row makes none; the message says why.
        """
        ...


@runtime_checkable
class Stream(Protocol):
    """A source whose rows come one after another; nobody knows how many there are.

    Row n is the n-th that comes, through one pass after another.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def num_rows(self) -> int | None:
        """Of a pass, once one was read to its end."""
        ...

    def has(self, row: int) -> bool:
        """Whether a row is one of the first pass."""
        ...

    def in_order(self, seed: int) -> "Stream":
        """The same rows in the order of a seed; the same object each time, which keeps its place.

        Its rows are best asked for in ascending order.
        """
        ...

    def sample(self, row: int, rng: np.random.Generator) -> Sample:
        """Make the row's sample, as a Source does.

        Raises:
            DataError, ImageError, PromptError: the row makes none; the message says why.
            StreamError: the stream breaks off.
        """
        ...


class Weighted(NamedTuple):
    """A source and its share among those of its kind."""

    source: Source | Stream
    weight: float


@dataclass(kw_only=True)
class BadRows:
    """Rows that made no sample: each is written down once, too many stop the run.

    A row that an earlier start or another process wrote down is not written again.
    """

    max_share: float
    log: Path | None = None
    """File that gets a JSON line a row; several processes may share it."""
    found: dict[tuple[str, int], str] = field(default_factory=dict)
    """Source and row -> why."""
    num_tried: int = 0
    num_bad: int = 0

    def __post_init__(self) -> None:
        self._shared = JsonLines(self.log)
        self.reread()

    def reread(self) -> None:
        """Take over what all processes wrote down."""
        for told in self._shared.news():
            self.found[told["source"], told["row"]] = told["why"]

    def add(self, source: Source | Stream, row: int, why: Exception) -> None:
        """Note a bad row.

        Raises:
            DataError: more than the allowed share of the rows tried is bad.
        """
        self.num_bad += 1
        if (source.name, row) not in self.found:
            self.reread()
        if (source.name, row) not in self.found:
            self.found[source.name, row] = str(why)
            self._shared.append({"source": source.name, "row": row, "why": str(why)})
            if self.log is not None:
                tqdm.write(f"bad row {row} of {source.name}: {why}", file=sys.stderr)
        if self.num_bad > self.max_share * max(self.num_tried, ENOUGH_TO_JUDGE):
            raise DataError(
                f"{self.num_bad} of {self.num_tried} rows tried are bad, the last one row {row} of "
                f"{source.name}: {str(why).rstrip('.')}. Mend the data or raise "
                "mixture.max_bad_share."
            ) from why


def planned_rows(
    sources: Sequence[Weighted], ordinal: int, *, seed: int
) -> tuple[Source | Stream, Iterable[int]]:
    """The source and row of the sample of this number among all of its kind in a run.

    After the row come those that stand in for it if it is bad, each for the one before it. Every
    source goes through all its rows before it repeats one.
    """
    which, count = share_out(ordinal, [weight for _, weight in sources])
    source = sources[which].source
    if isinstance(source, Stream):
        return source.in_order(seed + which), range(count, count + MAX_BAD_IN_TURN)
    row = shuffled(count, len(source), seed=seed + which)
    return source, chain(range(row, len(source)), range(row))


def draw(
    sources: Sequence[Weighted],
    ordinal: int,
    *,
    seed: int,
    rng: np.random.Generator,
    build: Callable[[Sample], T],
    bad: BadRows,
) -> T:
    """Make and build the sample of this number among all of its kind in a run.

    A bad row is noted, and the row after it taken.

    Raises:
        DataError: too many rows are bad, or all of a source.
        StreamError: a stream breaks off.
    """
    source, rows = planned_rows(sources, ordinal, seed=seed)
    num_tried = 0
    for row in rows:
        num_tried += 1
        bad.num_tried += 1
        try:
            return build(source.sample(row, rng))
        except BAD_ROW_ERRORS as error:
            bad.add(source, row, error)
    raise DataError(f"none of the {num_tried} rows of {source.name} makes a sample: mend the data.")
