"""Rows of data files and of data sets on the hub, through the `datasets` library.

What its loaders read becomes a memory-mapped table, so a file larger than memory is no trouble.
Pictures inside stay undecoded: `processing.picture_files` opens them, which trusts nothing.
"""

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from janusflow.config.errors import DataError

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


def open_table(path: str, *, split: str = "train") -> Table:
    """Open a file, all files of a pattern, a folder of pictures, or a data set of the hub.

    Args:
        path: e.g. `pairs.jsonl`, `shards/*.tar`, `pictures/` (with a metadata.csv or .jsonl, see
            the documentation of `datasets`), `owner/name`.
        split: of a hub data set.

    Raises:
        DataError: it is not there, cannot be read or holds no rows.
    """
    if path.endswith(".json"):
        return _listed(path)
    files = sorted(glob.glob(path))
    loader = next((LOADERS[end] for end in LOADERS if path.endswith(end)), None)
    if loader is not None and not files:
        raise DataError(f"no file {path}: check the path.")
    if loader is None and not Path(path).is_dir() and (files or path.count("/") != 1):
        raise DataError(
            f"cannot tell what {path} is: wanted a name ending in .json, {', '.join(LOADERS)}, a "
            "folder of pictures, or owner/name of a data set on the hub."
        )
    table = _loaded(path, loader, files, split)
    if not len(table):
        raise DataError(f"{path} has no rows: check the file.")
    return table


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


def _loaded(path: str, loader: str | None, files: list[str], split: str) -> Any:
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise DataError(
            f"reading {path} needs the `datasets` library: pip install 'janusflow[data]'."
        ) from error
    try:
        if loader is not None:
            options: dict[str, Any] = {"sep": "\t"} if path.endswith(".tsv") else {}
            table = datasets.load_dataset(loader, data_files=files, split="train", **options)
        elif Path(path).is_dir():
            table = datasets.load_dataset("imagefolder", data_dir=path, split="train")
        else:
            table = datasets.load_dataset(path, split=split)
    except (DatasetsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"cannot read {path}: {reason}. Check the file or the name.") from error
    for name, feature in (table.features or {}).items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    return table
