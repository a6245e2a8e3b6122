"""Checkpoints of a run: written beside the training, complete or not at all, old ones deleted.

A checkpoint is a folder, `checkpoints/00001000`, in PyTorch's distributed format: every process
writes the shards it holds, and any number of processes can read them. `.metadata`, written last,
makes it complete. It holds the trained parameters, optimizer, average and step; frozen parts come
from where the run started. The same step and seed give the same batch and the same noise, so
nothing else is random state.
"""

import pickle
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse

from janusflow.config.errors import CheckpointError
from janusflow.training.engine.distributed import barrier, is_main_process, num_processes

FOLDER = "checkpoints"
COMPLETE = ".metadata"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool)
UNREADABLE = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError,
    pickle.UnpicklingError, CheckpointException,
)  # fmt: skip
"""What reading raises on files cut short or overwritten with something else."""
TRUSTED = {
    "torch": {"Size", *(str(dtype).removeprefix("torch.") for dtype in DTYPES)},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "TensorStorageMetadata",
        "ChunkStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "pathlib": {"PosixPath", "WindowsPath"},
}  # fmt: skip
"""All that the description of some tensors consists of."""
SINGLE_PROCESS = "torch.distributed is disabled, unavailable or uninitialized"
"""How a warning begins that says one process is one process."""


def checkpoints(run: Path) -> list[Path]:
    """A run's complete checkpoints, oldest first."""
    return sorted(path.parent for path in (run / FOLDER).glob(f"[0-9]*/{COMPLETE}"))


def newest_checkpoint(run: Path) -> Path | None:
    """Where a run goes on from, if it has begun.

    Raises:
        CheckpointError: all it has are files of a version that kept a checkpoint in one file.
    """
    complete = checkpoints(run)
    old = sorted((run / FOLDER).glob("[0-9]*.pt"))
    if old and not complete:
        raise CheckpointError(
            f"{old[-1]} was written by an earlier version, and this one would begin anew beside "
            "it: choose another run=FOLDER, or delete it."
        )
    return complete[-1] if complete else None


class Checkpointer:
    """Writes a run's checkpoints one at a time, each while the training goes on.

    Leaving its `with` block, also by an interruption, finishes what was begun.

    Args:
        run: folder of the run.
        keep: newest checkpoints that are kept.
        keep_every: checkpoints of multiples of so many steps are kept besides; 0 for none.
    """

    def __init__(self, run: Path, *, keep: int, keep_every: int = 0) -> None:
        self.run, self.keep, self.keep_every = run, keep, keep_every
        self._writing: Future[Any] | None = None
        # Not around the calls alone: the thread that writes warns as well.
        warnings.filterwarnings("ignore", message=SINGLE_PROCESS)
        # The writing thread's messages must not mix with the training's.
        group = dist.new_group(backend="gloo") if num_processes() > 1 else None
        self._group = cast(dist.ProcessGroup | None, group)

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def save(self, step: int, state: dict[str, Tensor]) -> Path:
        """Copy the state and begin to write it; an earlier one is finished first.

        Raises:
            CheckpointError: the earlier one could not be written.
        """
        self.finish()
        path = self.run / FOLDER / f"{step:08d}"
        if is_main_process():
            shutil.rmtree(path, ignore_errors=True)  # of a run killed while it wrote
            path.mkdir(parents=True)
        barrier()
        response = dcp.async_save(
            state,
            storage_writer=dcp.FileSystemWriter(path, overwrite=True),
            process_group=self._group,
            no_dist=self._group is None,
        )
        self._writing = (
            response.upload_completion if isinstance(response, AsyncSaveResponse) else response
        )
        return path

    def finish(self) -> None:
        """Wait until what was begun is on disk, then delete what is not to be kept.

        Raises:
            CheckpointError: it could not be written.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except (CheckpointException, OSError, RuntimeError) as error:
            raise CheckpointError(
                f"cannot write {self.run / FOLDER}: {_reason(error)}. Free some space and resume "
                "the run."
            ) from error
        if is_main_process():
            complete = checkpoints(self.run)
            kept = complete[-self.keep :]
            if self.keep_every:
                kept += [path for path in complete if int(path.name) % self.keep_every == 0]
            for path in (self.run / FOLDER).glob("[0-9]*"):
                if path.is_dir() and path not in kept:
                    shutil.rmtree(path)


def describe(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors, their shapes and dtypes alone (meta device).

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    with _explained(path):
        entries = PlainReader(path).read_metadata().state_dict_metadata.items()
        tensors = {name: cast(TensorStorageMetadata, entry) for name, entry in entries}
        return {
            name: torch.empty(each.size, dtype=each.properties.dtype, device="meta")
            for name, each in tensors.items()
        }


def load_into(path: Path, state: dict[str, Tensor]) -> None:
    """Fill a state's tensors, each in place and each process its own shards.

    Raises:
        CheckpointError: the checkpoint is damaged, or holds other tensors.
    """
    warnings.filterwarnings("ignore", message=SINGLE_PROCESS)
    describe(path)  # what is wrong with it, dcp.load would say in many lines
    with _explained(path):
        dcp.load(state, storage_reader=PlainReader(path), no_dist=num_processes() == 1)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, whole, in one process.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    state = {name: torch.empty_like(t, device="cpu") for name, t in describe(path).items()}
    load_into(path, state)
    return state


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except UnknownTorchError as error:
        raise CheckpointError(f"{path} holds {error}.") from None
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read here ({type(error).__name__}: "
            f"{_reason(error)}): delete it to resume the run from the one before, or name another."
        ) from error


class UnknownTorchError(CheckpointError):
    """A checkpoint that another version of PyTorch may have written."""


class PlainReader(dcp.FileSystemReader):
    """Reads tensors and nothing else: no code that a file may hold is run."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:  # noqa: ARG002 (DCP's call)
        """Read what the checkpoint holds and where.

        Raises:
            UnpicklingError: it names something that is not a tensor.
            UnknownTorchError: it names something of PyTorch's that is not known here.
        """
        with (Path(self.path) / COMPLETE).open("rb") as file:
            metadata = _PlainUnpickler(file).load()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in TRUSTED.get(module, ()):
            return super().find_class(module, name)
        if module.partition(".")[0] != "torch":
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")
        raise UnknownTorchError(
            f"{module}.{name}, which is not read from checkpoints here (PyTorch "
            f"{torch.__version__}). The file need not be damaged: keep it, and read it with the "
            "versions that wrote it (environment.jsonl in the run's folder)"
        )


def _reason(error: BaseException) -> str:
    """The innermost cause in one line."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
