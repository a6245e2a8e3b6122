"""Where samples come from: a source is rows that each make one sample."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from tqdm import tqdm

from janusflow.config.errors import DataError, ImageError, PromptError
from janusflow.data.order import share_out, shuffled
from janusflow.data.samples import Sample

T = TypeVar("T")

BAD_ROW_ERRORS = (DataError, ImageError, PromptError)
ENOUGH_TO_JUDGE = 100
"""Rows tried before the share of bad ones is judged by their number."""


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


class Weighted(NamedTuple):
    """A source and its share among those of its kind."""

    source: Source
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
    num_read: int = 0
    """Bytes of the log that were taken over already."""

    def __post_init__(self) -> None:
        self.reread()

    def reread(self) -> None:
        """Take over what all processes wrote down; a line being written is left for later."""
        if self.log is None or not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self.num_read)
            for line in log:
                if line.endswith(b"\n"):
                    told = json.loads(line)
                    self.found[told["source"], told["row"]] = told["why"]
                    self.num_read += len(line)

    def add(self, source: Source, row: int, why: Exception) -> None:
        """Note a bad row.

        Raises:
            DataError: more than the allowed share of the rows tried is bad.
        """
        self.num_bad += 1
        if (source.name, row) not in self.found:
            self.reread()
        if (source.name, row) not in self.found:
            self.found[source.name, row] = str(why)
            self._write({"source": source.name, "row": row, "why": str(why)})
        if self.num_bad > self.max_share * max(self.num_tried, ENOUGH_TO_JUDGE):
            raise DataError(
                f"{self.num_bad} of {self.num_tried} rows tried are bad, the last one row {row} of "
                f"{source.name}: {str(why).rstrip('.')}. Mend the data or raise "
                "mixture.max_bad_share."
            ) from why

    def _write(self, line: dict[str, str | int]) -> None:
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line, ensure_ascii=False) + "\n")
            tqdm.write(f"bad row {line['row']} of {line['source']}: {line['why']}", file=sys.stderr)


def planned_row(sources: Sequence[Weighted], ordinal: int, *, seed: int) -> tuple[Source, int]:
    """The source and row of the sample of this number among all of its kind in a run.

    Every source goes through all its rows before it repeats one.
    """
    which, count = share_out(ordinal, [weight for _, weight in sources])
    source = sources[which].source
    return source, shuffled(count, len(source), seed=seed + which)


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
    """
    source, row = planned_row(sources, ordinal, seed=seed)
    for _ in range(len(source)):
        bad.num_tried += 1
        try:
            return build(source.sample(row, rng))
        except BAD_ROW_ERRORS as error:
            bad.add(source, row, error)
            row = (row + 1) % len(source)
    raise DataError(
        f"none of the {len(source)} rows of {source.name} makes a sample: mend the data."
    )
