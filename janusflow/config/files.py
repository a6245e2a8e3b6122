"""Writing files so that nobody reads half: replaced as a whole, or grown by whole lines of JSON."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
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


@dataclass
class JsonLines:
    """A file of JSON lines that several processes and starts of a run append to.

    A line that was cut short (by a killed process, a full disk) is passed over by readers and
    ended by the next append, whoever makes it. Without a path nothing is kept.
    """

    path: Path | None
    num_read: int = 0
    """Bytes that `news` has read."""

    def news(self) -> Iterator[dict[str, Any]]:
        """Yield what was appended since the last call; a line without its end is left for later."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.num_read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.num_read += len(line)
                if (content := _parsed(line)) is not None:
                    yield content

    def append(self, *lines: Mapping[str, Any]) -> None:
        """Add lines in one write; the file's folder is made if need be.

        Raises:
            DataError: they cannot be written there.
        """
        if self.path is None:
            return
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                start = b"" if _ends_whole(file) else b"\n"
                content = start + text.encode("utf-8", "surrogatepass")
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be written ({error.strerror}): make room, or name another "
                "folder."
            ) from error


def _ends_whole(file: FileIO) -> bool:
    """Whether a file is empty or its last line has its end."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line's object; None if it is none."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file, as `JsonLines` does."""
    JsonLines(path).append(line)


def drop_lines_from(path: Path, *, step: int) -> None:
    """Take away lines of this step and later ones, which a resumed run will write again.

    Lines that were cut short go too.
    """
    if path.exists():
        kept = [line for line in JsonLines(path).news() if line.get("step", step) < step]
        replace_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
