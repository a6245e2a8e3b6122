"""Where samples come from: a source is rows that each make one sample."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import lgamma, log, log1p
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from tqdm import tqdm

from janusflow.config.errors import DataError, ImageError, PromptError
from janusflow.config.files import JsonLines
from janusflow.data.samples import Sample
from janusflow.data.sources.order import share_out, shuffled

T = TypeVar("T")

BAD_ROW_ERRORS = (DataError, ImageError, PromptError)
ENOUGH_TO_JUDGE = 100
"""Rows tried before the share of bad ones is judged: those of a start may lie together."""
WRONG_STOPS = 1e-3
"""Chance that a run is ever stopped though just the allowed share of its rows is bad."""
MAX_BAD_IN_TURN = 1000
"""Rows that may be bad one after another."""


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


class WeightedSource(NamedTuple):
    """A source and its share among those of its kind."""

    source: Source | Stream
    weight: float


@dataclass(kw_only=True)
class BadRows:
    """Rows that made no sample: each is written down once, too many of a run's rows stop it.

    A row that an earlier start or another process wrote down is not written again.
    """

    max_share: float
    log: Path | None = None
    """File that gets a JSON line a row; several processes may share it."""
    found: dict[tuple[str, int], str] = field(default_factory=dict)
    """Source and row -> why."""
    num_tried: int = 0
    num_bad: int = 0
    """These two since they were last taken, in this process."""

    def __post_init__(self) -> None:
        self._shared = JsonLines(self.log)
        self.reread()

    def reread(self) -> None:
        """Take over what all processes wrote down."""
        for told in self._shared.news():
            self.found[told["source"], told["row"]] = told["why"]

    def add(self, source: Source | Stream, row: int, why: Exception) -> None:
        """Note a bad row."""
        self.num_bad += 1
        if (source.name, row) not in self.found:
            self.reread()
        if (source.name, row) not in self.found:
            self.found[source.name, row] = str(why)
            self._shared.append({"source": source.name, "row": row, "why": str(why)})
            if self.log is not None:
                tqdm.write(f"bad row {row} of {source.name}: {why}", file=sys.stderr)

    def take_counts(self) -> dict[str, int]:
        """Rows tried and bad in this process since this was last asked, for a batch's tally."""
        counts = {"rows_tried": self.num_tried, "rows_bad": self.num_bad}
        self.num_tried = self.num_bad = 0
        return counts

    def require_few(self, *, num_tried: int, num_bad: int) -> None:
        """Refuse a share of bad rows above the allowed one, if it is no chance.

        Raises:
            DataError: too many are bad.
        """
        if not is_above(self.max_share, num_tried=num_tried, num_bad=num_bad):
            return
        self.reread()
        (name, row), why = next(reversed(self.found.items()), (("a source", 0), "no reason kept"))
        raise DataError(
            f"{num_bad:,} of {num_tried:,} rows tried are bad, more than mixture.max_bad_share="
            f"{self.max_share:g} allows, the last one row {row} of {name}: {why.rstrip('.')}. Mend "
            "the data or raise mixture.max_bad_share."
        )


def is_above(share: float, *, num_tried: int, num_bad: int) -> bool:
    """Whether the true share of bad rows is above this one, with confidence 1 - WRONG_STOPS.

    That holds however often it is asked as rows come in. With every possible true share equally
    likely beforehand, the odds of what was seen against `share` are a martingale, which exceeds
    1 / WRONG_STOPS with a chance of at most WRONG_STOPS (Ville 1939; Robbins 1970).
    """
    if num_bad <= share * num_tried or (share and num_tried < ENOUGH_TO_JUDGE):
        return False
    if share == 0:
        return True
    num_good = num_tried - num_bad
    seen = lgamma(num_bad + 1) + lgamma(num_good + 1) - lgamma(num_tried + 2)
    expected = num_bad * log(share) + num_good * log1p(-share)
    return seen - expected > -log(WRONG_STOPS)


def planned_rows(
    sources: Sequence[WeightedSource], ordinal: int, *, seed: int
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
    return source, islice(chain(range(row, len(source)), range(row)), MAX_BAD_IN_TURN)


def build_sample(
    sources: Sequence[WeightedSource],
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
        DataError: all of a source's rows are bad, or MAX_BAD_IN_TURN one after another.
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
    raise DataError(
        f"none of {num_tried} rows in turn of {source.name} makes a sample: mend the data."
    )
