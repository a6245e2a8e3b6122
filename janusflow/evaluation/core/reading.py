"""Benchmarks' own files: entries that know where they stand, so that a wrong one is named."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from janusflow.config.errors import DataError

Kind = TypeVar("Kind")

WANTED = {str: "text", int: "a whole number", list: "a list", dict: "an object"}
"""What messages call a kind of value."""
MAX_KEYS_TOLD = 6


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object of a file."""

    where: str
    """File and line, or file and key, as messages have it."""
    values: Mapping[str, Any]

    def get(self, name: str, kind: type[Kind]) -> Kind:
        """A value of a kind.

        Raises:
            DataError: it is missing or something else.
        """
        if name not in self.values:
            raise self.wrong(f"{_keys(self.values)}, wanted {name} ({WANTED[kind]})")
        value = self.values[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(f"{name}={str(value)[:60]!r}, wanted {WANTED[kind]}")
        return value

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """A text that is one of a few."""
        value = self.get(name, str)
        if value not in choices:
            raise self.wrong(f"{name}={value[:60]!r}, wanted one of: {', '.join(choices)}")
        return value

    def wrong(self, got: str) -> DataError:
        """The error of an entry that is not as its format has it."""
        return DataError(f"{self.where}: got {got}. Name the benchmark's own file.")


def read_json_object(path: Path) -> Iterator[tuple[str, Entry]]:
    """Yield the keys and the objects of a file that holds one object of them."""
    for key, value in _parsed(str(path), _text(path)).values.items():
        yield key, _entry(f"{path}, {key[:60]}", value)


def read_json_lines(path: Path) -> list[Entry]:
    """A file with an object a line."""
    lines = enumerate(_text(path).split("\n"), start=1)
    return [_parsed(f"{path}, line {number}", line) for number, line in lines if line.strip()]


def read_prompt_lines(path: Path) -> list[str]:
    """A text file with a prompt a line.

    Raises:
        DataError: a line is empty or has tabs, or all of it is JSON.
    """
    text = _text(path).rstrip("\n")
    if text.lstrip()[:1] in tuple("{["):
        raise DataError(f"{path}: got JSON, wanted a text file with a prompt a line.")
    prompts = [line.rstrip("\r") for line in text.split("\n")]
    for number, prompt in enumerate(prompts, start=1):
        if not prompt.strip() or "\t" in prompt:
            got = "values between tabs" if prompt.strip() else "an empty line"
            raise DataError(f"{path}, line {number}: got {got}, wanted a prompt a line.")
    return prompts


def read_table(path: Path, columns: Sequence[str]) -> list[Entry]:
    """A file of comma-separated values with a line of column names.

    Raises:
        DataError: it cannot be read, lacks one of the columns, or a line has too few or many.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    named = dict.fromkeys(reader.fieldnames or ())
    missing = [name for name in columns if name not in named]
    if missing:
        raise DataError(f"{path}, line 1: got {_keys(named)}, wanted columns {', '.join(missing)}.")
    rows = []
    for row in reader:
        entry = Entry(where=f"{path}, line {reader.line_num}", values=row)
        if None in row or None in row.values():
            raise entry.wrong(f"another number of values than the {len(named)} columns")
        rows.append(entry)
    return rows


def identity(*files: Path) -> dict[str, str]:
    """What decides the items of files: their names and a digest of what they hold."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return {"data": ", ".join(path.name for path in files), "sha256": digest.hexdigest()[:16]}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): name the benchmark's file.") from None


def _parsed(where: str, text: str) -> Entry:
    try:
        return _entry(where, json.loads(text))
    except ValueError as error:
        raise DataError(
            f"{where}: got {text.strip()[:40]!r}, wanted an object of JSON ({error})."
        ) from None


def _entry(where: str, content: Any) -> Entry:
    if not isinstance(content, dict):
        raise DataError(f"{where}: got {str(content)[:60]!r}, wanted an object.")
    return Entry(where=where, values=content)


def _keys(values: Mapping[str, Any]) -> str:
    """The first keys of an object, as messages have them."""
    told = ", ".join([str(key)[:30] for key in values][:MAX_KEYS_TOLD])
    return f"{told or 'nothing'}{', ...' if len(values) > MAX_KEYS_TOLD else ''}"
