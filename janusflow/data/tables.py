"""Rows of data files and of data sets on the hub, through the `datasets` library.

What its loaders read becomes a memory-mapped table, so a file larger than memory is no trouble.
Data that should not be downloaded as a whole is streamed (streams.py).
Pictures inside stay undecoded: `processing.image_files` opens them, which trusts nothing.
"""

import glob
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from janusflow.config.errors import DataError
from janusflow.data.streams import READ_ERRORS, SHUFFLE_BUFFER, Shard, ShardLengths, StreamedTable

LOADERS = {
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".json.gz": "json",
    ".jsonl.zst": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".tar": "webdataset",
}
"""How a file's name ends -> the loader of `datasets` that reads it."""


@runtime_checkable
class Table(Protocol):
    """Rows by number; a list of dicts is one, a Dataset of `datasets` too."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Mapping[str, Any]: ...


def open_table(
    path: str,
    *,
    split: str = "train",
    streaming: bool = False,
    shuffle_buffer: int | None = None,
) -> Table | StreamedTable:
    """Open a file, all files of a pattern, a folder of pictures, or a data set of the hub.

    Args:
        path: e.g. `pairs.jsonl`, `shards/*.tar`, `pictures/` (with a metadata.csv or .jsonl, see
            the documentation of `datasets`), `owner/name`; to be streamed, also an address such as
            `hf://datasets/owner/name/*.parquet` or `https://...`.
        split: of a hub data set.
        streaming: read rows as they come; nothing is downloaded beforehand or kept.
        shuffle_buffer: rows of a stream that are shuffled together, by default SHUFFLE_BUFFER.

    Raises:
        DataError: it is not there, cannot be read, holds no rows or cannot be streamed.
    """
    if streaming and (path.endswith(".json") or Path(path).is_dir()):
        raise DataError(
            f"streaming=true of {path}, which has to be read as a whole: leave it out, or write "
            ".jsonl, .parquet or WebDataset .tar files."
        )
    if path.endswith(".json"):
        return _listed(path)
    is_address = streaming and "://" in path
    files = [path] if is_address else sorted(glob.glob(path))
    loader = next((LOADERS[end] for end in LOADERS if path.endswith(end)), None)
    if loader is not None and not files:
        raise DataError(f"no file {path}: check the path.")
    if loader is None and not Path(path).is_dir() and (files or path.count("/") != 1):
        raise DataError(
            f"cannot tell what {path} is: wanted a name ending in .json, {', '.join(LOADERS)}, a "
            "folder of pictures, or owner/name of a data set on the hub."
        )
    try:
        table = _loaded(path, loader, files, split, streaming=streaming)
        is_empty = not (_has_a_row(table) if streaming else len(table))
    except (*READ_ERRORS, ImportError) as error:  # the latter names what an address needs
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"cannot read {path}: {reason}. Check the file or the name.") from error
    if is_empty:
        raise DataError(f"{path} has no rows: check the file.")
    return _streamed(path, table, files, split, shuffle_buffer) if streaming else table


def _has_a_row(table: Any) -> bool:
    """Whether an IterableDataset holds anything; its file is closed again at once."""
    with closing(iter(table)) as rows:
        return next(rows, None) is not None


def _streamed(
    path: str, table: Any, files: list[str], split: str, shuffle_buffer: int | None
) -> StreamedTable:
    """Rows of an IterableDataset by number."""
    num = table.num_shards
    names = files if len(files) == num else [f"shard {i} of {path}" for i in range(num)]
    return StreamedTable(
        name=path,
        shards=[Shard(name, _Part(table, num, i)) for i, name in enumerate(names)],
        lengths=ShardLengths(source=f"{path} ({split})", num_shards=num),
        shuffle_buffer=SHUFFLE_BUFFER if shuffle_buffer is None else shuffle_buffer,
    )


@dataclass(frozen=True)
class _Part:
    """A shard that is cut off when it is read; for all at once the time is quadratic in them."""

    table: Any
    num_shards: int
    shard: int

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.table.shard(self.num_shards, self.shard))


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is not there or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check the path.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}): get the file again.") from error


def _listed(path: str) -> Table:
    """A JSON list: rows may differ in their keys, which a table's columns could not."""
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        raise DataError(f"{path} holds no list of objects: wanted [{{...}}, {{...}}].")
    return rows


def _loaded(path: str, loader: str | None, files: list[str], split: str, *, streaming: bool) -> Any:
    """A Dataset or, to be streamed, an IterableDataset."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise DataError(
            f"reading {path} needs the `datasets` library: pip install 'janusflow[data]'."
        ) from error
    told: dict[str, Any] = {"split": "train", "streaming": streaming}
    if path.endswith(".tsv"):
        told["sep"] = "\t"
    try:
        if loader is not None:
            table = datasets.load_dataset(loader, data_files=files, **told)
        elif Path(path).is_dir():
            table = datasets.load_dataset("imagefolder", data_dir=path, **told)
        else:
            told["split"] = split
            table = datasets.load_dataset(path, **told)
    except (DatasetsError, StopIteration) as error:  # the latter means an empty .jsonl
        raise ValueError(str(error) or "it has no rows") from error
    for name, feature in (table.features or {}).items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    return table
