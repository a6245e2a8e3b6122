"""The weight files of a model folder, read one tensor at a time.

Safetensors and `.bin` files, single or sharded by an index, look the same from here. Files are
mapped, and mapped again every few megabytes, because pages of a mapped file count as memory of the
process for as long as the mapping lives: a plain read of a whole file would cost its size twice.
"""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from janusflow.config.errors import CheckpointError, is_out_of_memory
from janusflow.interop.conversion import Shape

SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"
INDEX_SUFFIX = ".index.json"
LFS_POINTER = b"version https://git-lfs"
REMAP_AFTER = 16 * 2**20
"""Bytes read through one mapping before the file is mapped anew."""


class WeightFiles:
    """Names and shapes of a folder's weights, and each weight on demand."""

    def __init__(self, folder: Path) -> None:
        self._open_files: dict[Path, _OpenFile] = {}
        self._bytes_read = 0
        self._file_of: dict[str, Path] = {}
        self.shapes: dict[str, Shape] = {}
        for path in _files(folder):
            for name, shape in self._file(path).shapes.items():
                if name in self.shapes:
                    raise CheckpointError(
                        f"{folder}: {name} is in {self._file_of[name].name} and in {path.name}: "
                        "remove the file that does not belong to this model."
                    )
                self.shapes[name], self._file_of[name] = shape, path

    def read(self, name: str) -> Tensor:
        """One weight as stored; it may be a view of the file, so copy what is to stay."""
        path = self._file_of[name]
        if self._bytes_read > REMAP_AFTER:
            self._open_files, self._bytes_read = {}, 0
        with _explained(path):
            tensor = self._file(path).read(name)
        self._bytes_read += tensor.nbytes
        return tensor

    def _file(self, path: Path) -> "_OpenFile":
        if path not in self._open_files:
            with _explained(path):
                self._open_files[path] = _open(path)
        return self._open_files[path]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Copies of all tensors of one file.

    Raises:
        CheckpointError: it is damaged, or holds something else than tensors.
    """
    with _explained(path):
        file = _open(path)
        return {name: file.read(name).clone() for name in file.shapes}


class _OpenFile(NamedTuple):
    shapes: dict[str, Shape]
    read: Callable[[str], Tensor]


def _open(path: Path) -> _OpenFile:
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_bin(path)


def _open_safetensors(path: Path) -> _OpenFile:
    handle = safe_open(path, framework="pt")
    names = handle.offset_keys()
    shapes = {name: tuple(handle.get_slice(name).get_shape()) for name in names}
    return _OpenFile(shapes, handle.get_tensor)


def _open_bin(path: Path) -> _OpenFile:
    # weights_only: a pickle may otherwise run any code on load. Files of torch before 1.6 are
    # no zip archives, and cannot be mapped.
    tensors: Any = torch.load(
        path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
    )
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise CheckpointError(
            f"{path}: not a plain dictionary of tensors: save the model's state_dict()."
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return _OpenFile(shapes, tensors.__getitem__)


def _files(folder: Path) -> list[Path]:
    """The files that hold the weights, as the index names them if there is one."""
    for single in (SAFETENSORS, BIN):
        index = folder / (single + INDEX_SUFFIX)
        if index.is_file():
            return _sharded(index)
        if (folder / single).is_file():
            return [folder / single]
    raise CheckpointError(
        f"{folder}: no weights: wanted {SAFETENSORS}, {SAFETENSORS}{INDEX_SUFFIX}, {BIN} or "
        f"{BIN}{INDEX_SUFFIX}. Download the folder again, with its large files."
    )


def _sharded(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{index}: not an index with a weight_map ({error}): download it again."
        ) from error
    # Names only: an index must not point outside its folder.
    shards = [index.parent / Path(name).name for name in names]
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent}: {len(missing)} of {len(names)} shards are missing "
            f"({', '.join(missing)}): download them too."
        )
    return shards


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what a damaged or hostile file makes the readers raise into one line."""
    try:
        yield
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if _is_lfs_pointer(path):
            raise CheckpointError(
                f"{path}: a git-lfs pointer, not the weights: run `git lfs pull` in its folder."
            ) from error
        if is_out_of_memory(error):
            raise MemoryError(f"{path}: {reason}") from error
        raise CheckpointError(
            f"{path}: cannot be read ({reason}): the file is truncated or damaged. "
            "Download it again."
        ) from error


def _is_lfs_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER
