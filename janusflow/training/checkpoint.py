"""Checkpoints of a run: written atomically, resumed exactly, old ones deleted.

A checkpoint is one file, `checkpoints/00001000.pt`, that appears complete or not at all. It
holds the trained parameters, optimizer, average and step; frozen parts come from where the run
started. The same step and seed give the same batch and the same noise, so nothing else is random
state.
"""

import os
import tempfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from janusflow.config.errors import CheckpointError

FOLDER = "checkpoints"
WRITING = ".writing-"
UNREADABLE = (OSError, EOFError, RuntimeError, UnpicklingError, ValueError, LookupError)
"""What torch.load raises on files cut short or overwritten with something else."""


def write_atomically(path: Path, state: Any) -> None:
    """Save a state so that `path` is complete or absent, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=WRITING)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}. Free some space and resume the run."
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def checkpoints(run: Path) -> list[Path]:
    """A run's checkpoints, oldest first."""
    return sorted((run / FOLDER).glob("[0-9]*.pt"))


def save_checkpoint(run: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write the checkpoint of a step and delete all but the newest `keep`."""
    path = run / FOLDER / f"{step:08d}.pt"
    write_atomically(path, state)
    unfinished = (run / FOLDER).glob(f"{WRITING}*")  # of a run killed while it wrote
    for old in [*checkpoints(run)[:-keep], *unfinished]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain data are accepted."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({type(error).__name__}): delete it to resume "
            "from the one before."
        ) from error
