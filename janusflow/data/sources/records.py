"""Rows of text files and tars, exactly as they stand there.

No cell is taken for a number, a date or a missing value, and no row's keys or types bind another's.
Text files (.json, .jsonl, .csv, .tsv, .txt, compressed or not, here or at an address) are read into
one column of JSON, tars into the files of a sample by how their names end. `datasets` keeps these
on disk; a row is parsed when it is asked for.
"""

import csv
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import TextIOBase
from itertools import groupby
from operator import itemgetter
from pathlib import PurePath
from typing import Any, NamedTuple, cast

from janusflow.config.errors import DataError

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
"""How a compressed file's name ends -> what `fsspec` calls its compression."""
MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
"""A file in a tar: its sample's name, and how its own ends (as WebDataset has it)."""
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
MAX_CELL = 2**31 - 1
"""Characters of a cell; Python's own limit is too little for an image in base64."""


def ending_of(path: str) -> str:
    """How a file's name ends, in small letters, without that of its compression."""
    *others, last = ["", *(end.lower() for end in PurePath(path).suffixes)]
    return others[-1] if last in COMPRESSED and others else last


def read_records(files: list[str], stamps: Any = None) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """Yield what files hold, one record a row; `READERS` says how each is parsed.

    Args:
        files: paths or addresses.
        stamps: what `datasets` knows the files' state by; not read.

    Raises:
        ValueError: a file breaks off or is something else; the message begins with its path.
    """
    for path in files:
        try:
            yield from READERS[ending_of(path)].records(path)
        except (ValueError, EOFError, tarfile.TarError, zlib.error) as error:
            remedy = "; save it as UTF-8" if isinstance(error, UnicodeError) else ""
            raise ValueError(f"{path}: {error}{remedy}") from None


def parse_text(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a text file.

    Raises:
        DataError: it is no JSON object.
    """
    try:
        row = json.loads(record["json"])
    except ValueError as error:
        what = f"line {record.get('line')} is no JSON"
        raise DataError(f"{what} ({error}), mend it: {record['json'].strip()!r:.80}.") from None
    if not isinstance(row, dict):
        raise DataError(f"{row!r:.80} is no row: wanted an object, {{...}}.")
    return row


class TarSample(Mapping[str, Any]):
    """The files of a sample by how their names end; text and JSON are parsed when asked for."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._files = dict(zip(record["ends"], record["files"], strict=True))

    def __getitem__(self, end: str) -> Any:
        content, kind = self._files[end], end.rpartition(".")[2]
        try:
            if kind == "json":
                return json.loads(content)
            return content.decode() if kind in ("txt", "text", "cls", "caption") else content
        except ValueError as error:
            raise DataError(f"its .{end} cannot be read ({error}).") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _json_rows(file: TextIOBase) -> Iterator[tuple[int, str]]:
    """Rows of a list of objects, or of one object a line, whichever the file holds."""
    for number, line in enumerate(file, start=1):
        if number == 1 and line.lstrip().startswith("["):
            yield from enumerate(map(json.dumps, json.loads(line + file.read())))
            return
        if not line.strip():
            continue
        if number == 1 or not line.endswith("\n"):
            try:
                json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON ({error})") from None
        yield number, line


def _cells(file: TextIOBase, separator: str) -> Iterator[tuple[int, str]]:
    """Rows of a table with a header, every cell as text."""
    csv.field_size_limit(MAX_CELL)
    # Between tabs quotes are text, unless they are around a cell, as spreadsheets write it.
    is_tabbed = separator == "\t"
    quoting = csv.QUOTE_NONE if is_tabbed else csv.QUOTE_MINIMAL
    rows = csv.reader(file, strict=True, delimiter=separator, quoting=quoting)
    columns: list[str] = []
    try:
        for found in filter(None, rows):
            cells = [_unquoted(cell) for cell in found] if is_tabbed else found
            columns = columns or cells
            if len(cells) != len(columns):
                raise ValueError(
                    f"line {rows.line_num} has {len(cells)} cells and the header {len(columns)}: "
                    f"put a cell that holds {separator!r} in quotes"
                )
            if cells is not columns:
                yield rows.line_num, json.dumps(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None


def _unquoted(cell: str) -> str:
    quoted = QUOTED.fullmatch(cell)
    return quoted[1].replace('""', '"') if quoted else cell


def _lines(file: TextIOBase) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, json.dumps({"text": line.rstrip("\r\n")})


TEXTS: dict[str, Callable[[TextIOBase], Iterator[tuple[int, str]]]] = {
    ".json": _json_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".csv": partial(_cells, separator=","),
    ".tsv": partial(_cells, separator="\t"),
    ".txt": _lines,
}
"""How a text file's name ends -> its rows as JSON, each with the number of its line (or entry)."""


def _text_records(path: str) -> Iterator[dict[str, Any]]:
    import fsspec

    packing = COMPRESSED.get(PurePath(path).suffix.lower())
    told = {"encoding": "utf-8-sig", "newline": "", "compression": packing}
    with cast(Any, fsspec.open(path, "rt", **told)) as file:
        yield from ({"json": row, "line": line} for line, row in TEXTS[ending_of(path)](file))


def _tar_records(path: str) -> Iterator[dict[str, Any]]:
    """How the names of a sample's files end, and what they hold."""
    import fsspec

    opened = cast(Any, fsspec.open(path, "rb"))
    with opened as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        for sample, members in groupby(_members(tar), key=itemgetter(0)):
            ends, contents = zip(*((end, content) for _, end, content in members), strict=True)
            if len({*ends}) < len(ends):
                raise ValueError(f"{sample} has two files of one kind: {', '.join(ends)}")
            yield {"ends": list(ends), "files": list(contents)}


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    for member in tar:
        named, content = MEMBER.fullmatch(member.name), tar.extractfile(member)
        if named and content is not None:
            yield named[1], named[2].lower(), content.read()


class Reader(NamedTuple):
    """How files of a kind are read."""

    records: Callable[[str], Iterator[dict[str, Any]]]
    parse: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """A row of a record."""
    rows_at_once: int
    """Held in memory while they are written."""


READERS = dict.fromkeys(TEXTS, Reader(_text_records, parse_text, 1000)) | {
    ".tar": Reader(_tar_records, TarSample, 100)
}
"""How a file's name ends -> its reader; Parquet files are left to `datasets`."""
