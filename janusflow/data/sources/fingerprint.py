"""What the files of a run's sources were when it began: other files would mean other rows."""

import glob
import json
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from janusflow.config.data import SourceConfig
from janusflow.config.errors import DataError
from janusflow.config.files import replace_text

PROBED = 4096
"""Bytes at both ends of a file that are compared, beside its size; times change with a copy."""
SHOWN = 3
"""Files that a message names."""

Fingerprint = Mapping[str, str]
"""Path of a file, or of a folder -> what it holds, in short."""


def fingerprint(sources: Iterable[SourceConfig]) -> Fingerprint:
    """The files of sources, and those that their options name; nothing of data on the hub."""
    named = [text for each in sources for text in (each.path, *map(str, each.options.values()))]
    paths = dict.fromkeys(path for pattern in named for path in sorted(glob.glob(pattern)))
    return {path: _of_folder(path) if os.path.isdir(path) else _of_file(path) for path in paths}


def require_same_data(kept: Path, now: Fingerprint, *, is_begun: bool) -> None:
    """Refuse to go on with data that have changed; of a run that begins, the data are kept.

    Raises:
        DataError: a file is new, gone or another.
    """
    if not is_begun or not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_text(kept, json.dumps(now, indent=1, ensure_ascii=False))
        return
    before: Fingerprint = json.loads(kept.read_text(encoding="utf-8"))
    differences = {
        "new": [path for path in now if path not in before],
        "gone": [path for path in before if path not in now],
        "changed": [path for path in now if before.get(path, now[path]) != now[path]],
    }
    told = "; ".join(f"{what}: {_some(paths)}" for what, paths in differences.items() if paths)
    if told:
        raise DataError(
            f"{kept.parent} was begun with other data ({told}), so its rows would be others: put "
            f"the files back, or start in another run=FOLDER; to go on all the same, delete {kept}."
        )


def _of_file(path: str) -> str:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = file.read(PROBED)
        file.seek(max(0, size - PROBED))
        end = file.read(PROBED)
    return f"{size} bytes, {blake2b(begin + end, digest_size=8).hexdigest()}"


def _of_folder(path: str) -> str:
    entries = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(path))
    digest = blake2b(repr(entries).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{len(entries)} entries, {digest}"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
