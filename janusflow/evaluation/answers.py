"""Rows of a measurement, written as they come, so that a run that was cut off goes on.

The file is JSON lines: what decides the rows first, then a row each. A run that is decided by
anything else is refused; a line that was left unfinished is dropped. Processes that share the work
write a file each, and read all of them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from janusflow.config.errors import ConfigError, DataError
from janusflow.config.files import replace_text
from janusflow.evaluation.tasks import Row


class AnswerLog:
    """The rows so far by item id; with a path, kept there and in files beside it."""

    def __init__(
        self, path: Path | None, decided_by: Mapping[str, Any], *, process: int = 0
    ) -> None:
        self.rows: dict[str, Row] = {}
        # As JSON has it, so that tuples and lists compare equal.
        self.decided_by = json.loads(json.dumps(decided_by))
        self.path = path if path is None or process == 0 else _part(path, process)
        if path is None or self.path is None:
            return
        own = self._read(self.path)
        replace_text(self.path, "".join(own) or _line(self.decided_by))
        parts = path.parent.glob(f"{escape(path.name)}.process*[0-9]")
        for other in {path, *parts} - {self.path}:
            self._read(other)

    def _read(self, path: Path) -> list[str]:
        """Take over the rows of a file; give its whole lines."""
        whole = _whole_lines(path)
        if whole:
            _require_same(path, began=_parsed(path, 1, whole[0]), now=self.decided_by)
        for number, line in enumerate(whole[1:], start=2):
            row = _parsed(path, number, line)
            self.rows[row["id"]] = row
        return whole

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows, in one write."""
        self.rows |= {row["id"]: row for row in rows}
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(map(_line, rows)))


def _part(path: Path, process: int) -> Path:
    """Where a further process keeps its rows: beside those of the first."""
    return path.with_name(f"{path.name}.process{process}")


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def _whole_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): name another --output.") from None
    return re.findall(".*\n", text)


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or (number > 1 and "id" not in found):
        raise DataError(
            f"{path}, line {number}: got {line.strip()[:60]!r}, wanted an answer of this command. "
            "Remove the file to begin anew."
        )
    return found


def _require_same(path: Path, *, began: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    names = [name for name in {**began, **now} if began.get(name) != now.get(name)]
    if names:
        then, here = (
            ", ".join(f"{name}={said.get(name)}" for name in names) for said in (began, now)
        )
        raise ConfigError(
            f"{path} was begun with {then}; this run has {here}. Name another --output, or remove "
            "that file to begin anew."
        )
