"""Writing a file as a whole: whoever reads it finds the old one or the new one."""

import os
from pathlib import Path

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
