"""Rows of a measurement, written as they come, so that a run that was cut off goes on.

The file is JSON lines: what decides the rows first, then a row each. A run that is decided by
anything else is refused; a line that was left unfinished is made again. Processes that share the
work write a file each, and read all of them.
"""

import json
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from janusflow.config.errors import ConfigError, DataError
from janusflow.config.files import JsonLines
from janusflow.evaluation.core.tasks import Row


class AnswerLog:
    """The rows so far by item id; with a path, kept there and in files beside it.

    Raises:
        ConfigError: rows are there that other settings decided.
        DataError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None, decided_by: Mapping[str, Any], *, rank: int = 0) -> None:
        self.rows: dict[str, Row] = {}
        # As JSON has it, so that tuples and lists compare equal.
        self.decided_by = json.loads(json.dumps(decided_by))
        self._file = JsonLines(path)
        if path is None:
            return
        own = path if rank == 0 else path.with_name(f"{path.name}.process{rank}")
        self._file = JsonLines(own)
        others = {path, *path.parent.glob(f"{escape(path.name)}.process*[0-9]")} - {own}
        if not self._read(own):
            self._file.append(self.decided_by)
        for other in others:
            self._read(other)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows, in one write."""
        self.rows |= {row["id"]: row for row in rows}
        self._file.append(*rows)

    def _read(self, path: Path) -> bool:
        """Take over the rows of a file; whether it says what decided them."""
        try:
            lines = list(JsonLines(path).news())
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error}): name another --output.") from None
        for began in lines[:1]:
            self._require_same(path, began=began)
        self.rows |= {row["id"]: row for row in lines[1:] if "id" in row}
        return bool(lines)

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
