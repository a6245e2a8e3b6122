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
from janusflow.evaluation.core.tasks import Row


class AnswerLog:
    """The rows so far by item id; with a path, kept there and in files beside it.

    Raises:
        ConfigError: rows are there that other settings decided.
        DataError: a line is no row, or the file cannot be read.
    """

    def __init__(self, path: Path | None, decided_by: Mapping[str, Any], *, rank: int = 0) -> None:
        self.rows: dict[str, Row] = {}
        # As JSON has it, so that tuples and lists compare equal.
        self.decided_by = json.loads(json.dumps(decided_by))
        self.path = path
        if path is None:
            return
        self.path = path if rank == 0 else path.with_name(f"{path.name}.process{rank}")
        own = self._read(self.path)
        replace_text(self.path, "".join(own) or _line(self.decided_by))
        for other in {path, *path.parent.glob(f"{escape(path.name)}.process*[0-9]")} - {self.path}:
            self._read(other)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows, in one write."""
        self.rows |= {row["id"]: row for row in rows}
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(map(_line, rows)))

    def _read(self, path: Path) -> list[str]:
        """Take over the rows of a file; give its whole lines."""
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}): name another --output.") from None
        lines = re.findall(".*\n", text)
        for number, line in enumerate(lines, start=1):
            row = _parsed(path, number, line)
            if number == 1:
                self._require_same(path, began=row)
            else:
                self.rows[row["id"]] = row
        return lines

    def _require_same(self, path: Path, *, began: Mapping[str, Any]) -> None:
        now = self.decided_by
        names = [name for name in {**began, **now} if began.get(name) != now.get(name)]
        if names:
            then, here = (
                ", ".join(f"{name}={said.get(name)}" for name in names) for said in (began, now)
            )
            raise ConfigError(
                f"{path} was begun with {then}; this run has {here}. Name another --output, or "
                "remove that file to begin anew."
            )


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


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
