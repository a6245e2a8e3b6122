"""Benchmarks' own files: entries that know where they stand, so that a wrong one is named."""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from janusflow.config.errors import DataError

Kind = TypeVar("Kind")

WANTED = {str: "text", int: "a whole number", list: "a list", dict: "an object"}
"""What messages call a kind of value."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object of a file."""

    where: str
    """File and line, or file and index, as messages have it."""
    values: Mapping[str, Any]

    def get(self, name: str, kind: type[Kind]) -> Kind:
        """A value of a kind.

        Raises:
            DataError: it is missing or something else.
        """
        value = self.values.get(name)
        if not isinstance(value, kind):
            raise self.wrong(f"{name}={str(value)[:60]!r}, wanted {WANTED[kind]}")
        return value

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """A text that is one of a few."""
        value = self.get(name, str)
        if value not in choices:
            raise self.wrong(f"{name}={value[:60]!r}, wanted one of: {', '.join(choices)}")
        return value

    def picture(self, folder: Path, name: str) -> Path:
        """A picture file of this entry."""
        path = folder / name
        if not path.is_file():
            raise DataError(f"{self.where}: there is no picture {path}. Name another --pictures.")
        return path

    def wrong(self, got: str) -> DataError:
        """The error of an entry that is not as its format has it."""
        return DataError(f"{self.where}: got {got}. Get the benchmark's own file again.")


def read_json(path: Path) -> Entry:
    """A file that holds one object."""
    return _entry(str(path), _parsed(str(path), _text(path)))


def read_json_list(path: Path) -> list[Entry]:
    """A file that holds a list of objects."""
    content = _parsed(str(path), _text(path))
    if not isinstance(content, list):
        raise DataError(f"{path} holds a {type(content).__name__}, wanted a list of objects.")
    return [_entry(f"{path}, entry {i}", each) for i, each in enumerate(content)]


def entries_of(file: Entry, name: str) -> list[Entry]:
    """The objects of a list within a file's object."""
    return [_entry(f"{file.where}, {name}[{i}]", e) for i, e in enumerate(file.get(name, list))]


def entries_by_key(file: Entry) -> dict[str, Entry]:
    """The objects of a file's object, by their keys."""
    return {key: _entry(f"{file.where}, {key[:60]}", value) for key, value in file.values.items()}


def read_json_lines(path: Path) -> list[Entry]:
    """A file with an object a line."""
    lines = enumerate(_text(path).split("\n"), start=1)
    return [
        _entry(f"{path}, line {number}", _parsed(f"{path}, line {number}", line))
        for number, line in lines
        if line.strip()
    ]


def read_values(path: Path, names: Sequence[str]) -> list[Entry]:
    """A file of tab-separated values without a line of names, without quotes."""
    rows = []
    for number, line in enumerate(_text(path).rstrip("\n").split("\n"), start=1):
        values = line.rstrip("\r").split("\t")
        entry = Entry(where=f"{path}, line {number}", values=dict(zip(names, values, strict=False)))
        if len(values) != len(names):
            raise entry.wrong(f"{len(values)} values between tabs, wanted {len(names)}")
        rows.append(entry)
    return rows


def read_table(path: Path, columns: Sequence[str], *, delimiter: str) -> list[Entry]:
    """A file of comma- or tab-separated values with a line of column names.

    Raises:
        DataError: it cannot be read, lacks one of the columns, or a line has too few or many.
    """
    csv.field_size_limit(sys.maxsize)  # pictures are base64 in some
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter)
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}, line 1: got no column {', '.join(missing)}. Get it again.")
    rows = []
    for row in reader:
        entry = Entry(where=f"{path}, line {reader.line_num}", values=row)
        if None in row or None in row.values():
            raise entry.wrong(f"another number of values than the {len(row)} columns")
        rows.append(entry)
    return rows


def splits(data: Path, pattern: str) -> list[Path]:
    """One file, or those of a folder by name."""
    files = sorted(data.glob(pattern)) if data.is_dir() else [data]
    if not files:
        raise DataError(f"--data {data}: no {pattern} in this folder. Name the file.")
    return files


def identity(*files: Path) -> dict[str, str]:
    """What decides the items of a file: its name and a digest of what it holds."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return {"data": ", ".join(path.name for path in files), "sha256": digest.hexdigest()[:16]}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): name the benchmark's file.") from None


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: got no JSON ({error}). Get the file again.") from None


def _entry(where: str, content: Any) -> Entry:
    if not isinstance(content, dict):
        raise DataError(f"{where}: got {str(content)[:60]!r}, wanted an object.")
    return Entry(where=where, values=content)
