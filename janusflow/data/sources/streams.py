"""Rows of data too large to download or to index: read shard after shard, a block of them held.

Which row is the n-th follows from seed and n, whoever asks. Each pass takes the shards (files) in
another order; the rows of a pass are cut into blocks, and each block is shuffled. Unlike the buffer
of `datasets`, which hands out a row for each that comes in, a block depends on nothing before it: a
run that resumes begins at its block, in the shard that it lies in.
"""

import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from janusflow.config.errors import StreamError
from janusflow.config.files import JsonLines
from janusflow.data.sources.order import shuffled

SHUFFLE_BUFFER = 1000
"""Rows that are shuffled together, as many as `datasets` takes: 100 MB of images of 100 kB."""
READ_ERRORS = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)
"""What readers of damaged or unreachable files raise; pyarrow's errors are ValueErrors."""


class Shard(NamedTuple):
    """A part of a stream, e.g. one file."""

    name: str
    rows: Callable[[], Iterator[Mapping[str, Any]]]
    """Begins anew with every call."""


class Located(NamedTuple):
    """A row and where it is from."""

    shard: str
    number: int
    """Among the rows of its shard."""
    row: Mapping[str, Any]


@dataclass(kw_only=True)
class ShardLengths:
    """How many rows shards have, as far as somebody has read them to their ends.

    A fact about the data, whatever the order; with it a shard is passed over without opening it.
    """

    source: str
    num_shards: int
    log: Path | None = None
    """File that keeps them from one start of a run to the next; processes may share it."""
    found: dict[int, int] = field(default_factory=dict)
    """Shard -> its number of rows."""

    def __post_init__(self) -> None:
        self._shared = JsonLines(self.log)
        self.reread()

    @property
    def total(self) -> int | None:
        """Rows of a pass, once all shards are known."""
        return sum(self.found.values()) if len(self.found) == self.num_shards else None

    def reread(self) -> None:
        """Take over what all processes wrote down of this source."""
        for told in self._shared.news():
            if (told["source"], told["shards"]) == (self.source, self.num_shards):
                self.found[told["shard"]] = told["rows"]

    def add(self, shard: int, length: int) -> None:
        """Note a shard that was read to its end.

        Raises:
            StreamError: it had another length before.
        """
        if shard not in self.found:
            self.reread()
        known = self.found.get(shard)
        if known is None:
            self.found[shard] = length
            told = {"source": self.source, "shards": self.num_shards, "shard": shard}
            self._shared.append(told | {"rows": length})
        elif known != length:
            raise StreamError(
                f"shard {shard} of {self.source} has {length} rows and had {known} before: put the "
                "file back, or start again in another run=FOLDER."
            )


@dataclass(kw_only=True)
class StreamedTable:
    """Rows by number, to be asked for in ascending order; there is no last one.

    Going back, or ahead beyond the next block, opens a shard again and passes over its rows, which
    are read but not decoded.
    """

    name: str
    shards: Sequence[Shard]
    lengths: ShardLengths
    shuffle_buffer: int = SHUFFLE_BUFFER
    """Rows of a block; the last one of a pass may be shorter."""
    seed: int | None = None
    """Of the order; without one, that of the files."""
    parse: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    """Makes a row of what a shard holds, when it is asked for."""

    def __post_init__(self) -> None:
        self._first = 0
        self._block: Sequence[Located] = ()
        self._reader: Iterator[Located] = iter(())
        self._reads_on_at: tuple[int, int] | None = None
        """Pass, and place in it, of the reader's next row."""

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return self.parse(self.located(row).row)

    def located(self, row: int) -> Located:
        """A row with its shard.

        Raises:
            StreamError: a shard cannot be read.
        """
        if not self._first <= row < self._first + len(self._block):
            self._read_block(row)
        return self._block[row - self._first]

    def has(self, row: int) -> bool:
        """Whether a row is one of the first pass; reads on to it."""
        self.located(row)
        return self.lengths.total is None or row < self.lengths.total

    def _read_block(self, row: int) -> None:
        """Hold the block of a row."""
        while True:
            total = self.lengths.total
            which_pass, place = (0, row) if total is None else divmod(row, total)
            size = 1 if self.seed is None else self.shuffle_buffer
            start = place - place % size
            if (which_pass, start) != self._reads_on_at:
                self._reader = _rows(self.shards, self.lengths, self.seed, which_pass, start)
            self._reads_on_at = None
            block = list(islice(self._reader, size))
            self._reads_on_at = (which_pass, start + len(block))
            if place - start < len(block):
                break
            # The pass ended before the row, so that now its length is known.
        self._first = row - (place - start)
        self._block = block
        if self.seed is not None:
            order = np.random.default_rng((self.seed, which_pass, start)).permutation(len(block))
            self._block = [block[i] for i in order]


def _rows(
    shards: Sequence[Shard], lengths: ShardLengths, seed: int | None, which_pass: int, place: int
) -> Iterator[Located]:
    """The rows of a pass from a place on, unshuffled.

    Its open file is closed as soon as the iterator is dropped: no reference cycle holds it.
    """
    num = len(shards)
    for turn in range(num):
        shard = turn if seed is None else shuffled(which_pass * num + turn, num, seed=seed)
        known = lengths.found.get(shard)
        if known is not None and known <= place:
            place -= known
            continue
        length = 0
        for length, row in enumerate(_read(shards[shard]), start=1):
            if length > place:
                yield Located(shards[shard].name, length - 1, row)
        lengths.add(shard, length)
        place = max(0, place - length)


def _read(shard: Shard) -> Iterator[Mapping[str, Any]]:
    try:
        yield from shard.rows()
    except READ_ERRORS as error:
        reason = " ".join(str(error).split()).removeprefix(f"{shard.name}: ")[:200].rstrip(".")
        raise StreamError(
            f"cannot read on in {shard.name}: {reason}. Get the file again or leave it out, and "
            "start again."
        ) from error
