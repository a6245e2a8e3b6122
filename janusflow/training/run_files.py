"""Files of a run that grow by a line of JSON at a time, each about a step or a start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janusflow.config.files import replace_text


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def drop_lines_from(path: Path, *, step: int) -> None:
    """Take away lines of this step and later ones, which a resumed run will write again.

    A line that a killed run left unfinished goes too.
    """
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
    replace_text(path, "".join(kept))
