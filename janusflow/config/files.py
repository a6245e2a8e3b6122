"""Writing files so that nobody reads half: replaced as a whole, or grown by whole lines of JSON."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janusflow.config.errors import DataError


def replace_bytes(path: Path, content: bytes) -> None:
    """Put bytes in a file's place.

    Raises:
        DataError: they cannot be written there.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(content)
        os.replace(new, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): name another.") from None


def replace_text(path: Path, text: str) -> None:
    """Put a text in a file's place, UTF-8; errors are those of `replace_bytes`."""
    replace_bytes(path, text.encode())


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file; its folder is made if need be.

    Whoever is killed in between leaves a last line without its end, which readers leave alone.
    """
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
