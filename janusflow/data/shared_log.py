"""A file of JSON lines that several processes and starts of a run write together."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janusflow.config.files import append_line


@dataclass
class SharedLog:
    """Facts that all processes find sooner or later; without a path nobody hears of them."""

    path: Path | None
    num_read: int = 0
    """Bytes that were taken over already."""

    def news(self) -> Iterator[dict[str, Any]]:
        """Yield what was written since the last call; a line being written is left for later."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as log:
            log.seek(self.num_read)
            for line in log:
                if line.endswith(b"\n"):
                    self.num_read += len(line)
                    yield json.loads(line)

    def append(self, line: dict[str, Any]) -> None:
        """Write down a fact."""
        if self.path is not None:
            append_line(self.path, line)
