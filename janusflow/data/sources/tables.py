"""Rows of data files and of data sets on the hub, through the `datasets` library.

What is read becomes a memory-mapped table, so a file larger than memory is no trouble. Data that
should not be copied as a whole is streamed (streams.py). Images inside stay undecoded:
`processing.image_files` opens them, which trusts nothing.
"""

import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from janusflow.config.errors import DataError
from janusflow.data.sources.records import READERS, ending_of, parse_text, read_records
from janusflow.data.sources.streams import (
    READ_ERRORS,
    SHUFFLE_BUFFER,
    Shard,
    ShardLengths,
    StreamedTable,
)

KINDS = (*READERS, ".parquet")
"""How names of files end that can be read; most may be compressed, too (.gz, .zst)."""
NO_DATA = {b"version https://git-lfs": "a git-lfs pointer: run `git lfs pull`"} | dict.fromkeys(
    (b"<!doctype html", b"<html"), "a web page (HTML): the download went wrong"
)
"""How files begin that often lie where data should."""
READ_VERSION = 2
"""Of what records.py makes of a file; another makes `datasets` read it anew."""

Row = Mapping[str, Any]


@runtime_checkable
class Table(Protocol):
    """Rows by number; a list of dicts is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Row: ...


@dataclass(frozen=True)
class MappedTable:
    """A table whose rows are read as others, one at a time."""

    table: Table
    read: Callable[[Row], Row]

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Row:
        return self.read(self.table[row])


def open_table(
    path: str,
    *,
    split: str = "train",
    streaming: bool = False,
    shuffle_buffer: int | None = None,
) -> Table | StreamedTable:
    """Open a file, all files of a pattern, a folder of images, or a data set of the hub.

    Args:
        path: e.g. `pairs.jsonl`, `shards/*.tar`, `images/` (with a metadata.csv or .jsonl, see
            the documentation of `datasets`), `owner/name`; to be streamed, also an address such as
            `hf://datasets/owner/name/*.parquet` or `https://...`.
        split: of a hub data set.
        streaming: read rows as they come; nothing is downloaded beforehand or kept.
        shuffle_buffer: rows of a stream that are shuffled together, by default SHUFFLE_BUFFER.

    Raises:
        DataError: it is not there, cannot be read, holds no rows or cannot be streamed.
    """
    kind = ending_of(path)
    if streaming and (path.lower().endswith(".json") or Path(path).is_dir()):
        raise DataError(
            f"streaming=true of {path}, which has to be read as a whole: leave it out, or write "
            ".jsonl, .parquet or WebDataset .tar files."
        )
    files: list[str] = []
    try:
        files = _files(path, streaming=streaming)
        if kind in KINDS and not files:
            raise DataError(f"no file {path}: check the path.")
        if kind not in KINDS and not Path(path).is_dir() and (files or path.count("/") != 1):
            raise DataError(
                f"cannot tell what {path} is: wanted a name ending in {', '.join(KINDS)}, a folder "
                "of images, or owner/name of a data set on the hub."
            )
        if streaming:
            return _streamed(path, files, split, shuffle_buffer)
        table = _loaded(path, files, split)
    except ImportError as error:  # of `datasets`, or of what an address needs
        raise DataError(
            f"cannot read {path}: {error}. Install what is missing: pip install 'janusflow[data]'."
        ) from error
    except READ_ERRORS as error:
        reason = _reason(error, files).removeprefix(f"{path}: ")
        raise DataError(f"cannot read {path}: {reason}.") from error
    if not len(table):
        raise DataError(f"{path} has no rows: check the file.")
    return table


def _files(path: str, *, streaming: bool) -> list[str]:
    """The files of a pattern, or the addresses of one if it is streamed."""
    if "://" not in path or not streaming:
        return sorted(glob.glob(path))
    if not glob.has_magic(path):
        return [path]
    import fsspec

    system, pattern = fsspec.url_to_fs(path)
    return [system.unstrip_protocol(found) for found in sorted(system.glob(pattern))]


def _reason(error: BaseException, files: list[str]) -> str:
    """What an error comes from, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    for file in filter(os.path.isfile, files):
        with open(file, "rb") as content:
            begin = content.read(100).lstrip().lower()
        for start, what in NO_DATA.items():
            if begin.startswith(start):
                return f"{file} is {what}" if len(files) > 1 else f"it is {what}"
    return (" ".join(str(error).split())[:300] or type(error).__name__).rstrip(".")


def _loaded(path: str, files: list[str], split: str) -> Table:
    """All rows on disk, memory-mapped; what was read before is found again."""
    import datasets
    from datasets.arrow_writer import SchemaInferenceError
    from datasets.exceptions import DatasetsError

    reader = READERS.get(ending_of(path))
    try:
        if reader is None:
            return _undecoded(_load_dataset(path, files, split, streaming=False))
        states = tuple((stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, files))
        table = datasets.Dataset.from_generator(
            read_records,
            gen_kwargs={"files": files, "stamps": (READ_VERSION, *states)},
            writer_batch_size=reader.rows_at_once,
        )
    except (DatasetsError, StopIteration, TypeError) as error:
        if isinstance(error.__cause__, SchemaInferenceError):
            raise DataError(f"{path} has no rows: check the file.") from error
        raise ValueError(str(error) or "it has no rows") from error
    return MappedTable(cast(Table, table), reader.parse)


def _load_dataset(path: str, files: list[str], split: str, *, streaming: bool) -> Any:
    """Parquet files, a folder of images or a data set of the hub, as `datasets` reads them."""
    import datasets

    told: dict[str, Any] = {"path": path, "split": split, "streaming": streaming}
    if ending_of(path) == ".parquet":
        told |= {"path": "parquet", "data_files": files, "split": "train"}
    elif Path(path).is_dir():
        told |= {"path": "imagefolder", "data_dir": path, "split": "train"}
    return datasets.load_dataset(**told)


def _undecoded(table: Any) -> Any:
    """The table with images, sounds and so on as the bytes they are, and classes by their names."""
    import datasets

    def without_decoding(feature: dict[str, Any]) -> dict[str, Any]:
        kind = getattr(datasets, str(feature.get("_type")), None)
        return feature | {"decode": False} if hasattr(kind, "decode") else feature

    told = json.dumps(table.features.to_dict())
    features = datasets.Features.from_dict(json.loads(told, object_hook=without_decoding))
    table.info.features = features
    classes = {n: f.names for n, f in features.items() if isinstance(f, datasets.ClassLabel)}
    return MappedTable(table, partial(_with_class_names, classes)) if classes else table


def _with_class_names(classes: Mapping[str, list[str]], row: Row) -> Row:
    """A row with the names of its classes, which the table keeps as numbers; -1 is none."""
    names = {n: known[row[n]] for n, known in classes.items() if row[n] is not None and row[n] >= 0}
    return {**row, **dict.fromkeys(classes), **names}


def _streamed(path: str, files: list[str], split: str, shuffle_buffer: int | None) -> StreamedTable:
    """Rows by number, of which nothing is kept."""
    reader = READERS.get(ending_of(path))
    if reader is not None:
        shards = [Shard(file, partial(read_records, [file])) for file in files]
    else:
        table = _load_dataset(path, files, split, streaming=True).decode(False)
        num = table.num_shards
        names = files if len(files) == num else [f"shard {i} of {path}" for i in range(num)]
        shards = [Shard(name, partial(_part, table, num, i)) for i, name in enumerate(names)]
    if not any(_has_a_row(shard) for shard in shards):
        raise DataError(f"{path} has no rows: check the file.")
    return StreamedTable(
        name=path,
        shards=shards,
        lengths=ShardLengths(source=f"{path} ({split})", num_shards=len(shards)),
        shuffle_buffer=SHUFFLE_BUFFER if shuffle_buffer is None else shuffle_buffer,
        parse=dict if reader is None else reader.parse,
    )


def _has_a_row(shard: Shard) -> bool:
    """Whether a shard holds anything; its file is closed again at once."""
    with closing(cast(Any, shard.rows())) as rows:
        return next(rows, None) is not None


def _part(table: Any, num_shards: int, shard: int) -> Iterator[Row]:
    """A shard, cut off when it is read; for all at once the time is quadratic in them."""
    return iter(table.shard(num_shards, shard))


def compact_table(rows: Iterable[Row], path: str) -> Table:
    """Rows as one block of memory and not as Python objects, which take three times as much.

    Raises:
        DataError: there are none.
    """
    import datasets

    table = datasets.Dataset.from_dict({"json": [*map(json.dumps, rows)]})
    if not len(table):
        raise DataError(f"{path} has no rows: check the file.")
    return MappedTable(cast(Table, table), parse_text)


def read_object(path: str) -> Mapping[str, Any] | None:
    """What a .json file holds that is one object, and so no rows; None of any other file.

    Raises:
        DataError: it is not there or is no JSON.
    """
    if not path.lower().endswith(".json") or not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = (line for line in file if line.strip())
            first = next(lines, "[]")
            if not first.lstrip().startswith("{"):
                return None
            content = json.loads(first)
            return None if any(lines) else content
    except ValueError:  # an object of many lines
        return read_json(path)


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is not there or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check the path.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({_reason(error, [str(path)])}).") from error
