"""Checkpoints are complete or absent, and only so many are kept."""

import errno
import io
import os
from pathlib import Path

import pytest
import torch

from janusflow.config.errors import CheckpointError
from janusflow.training.checkpoint import (
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    write_atomically,
)


class FullDisk(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_was_saved_is_read_back(tmp_path: Path):
    state = {"step": 3, "tensor": torch.randn(4, dtype=torch.bfloat16), "nested": {"list": [1.5]}}
    path = save_checkpoint(tmp_path, 3, state, keep=2)
    read = load_checkpoint(path)
    assert path.name == "00000003.pt"
    assert torch.equal(read.pop("tensor"), state.pop("tensor"))
    assert read == state


@pytest.mark.parametrize(("keep", "left"), [(1, [1000]), (2, [999, 1000]), (9, [2, 10, 999, 1000])])
def test_the_newest_are_kept_by_step(tmp_path: Path, keep: int, left: list[int]):
    for step in (2, 10, 999, 1000):
        save_checkpoint(tmp_path, step, {"step": step}, keep=keep)
    assert [load_checkpoint(path)["step"] for path in checkpoints(tmp_path)] == left


def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "state.pt"
    write_atomically(path, {"step": 1})

    def open_full(handle: int, mode: str) -> FullDisk:
        os.close(handle)
        return FullDisk()

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", open_full)
        with pytest.raises(CheckpointError, match=r"cannot write .*No space left on device"):
            write_atomically(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path}/hacked",)

    path = tmp_path / "state.pt"
    torch.save({"step": Hostile()}, path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "hacked").exists()


def test_a_run_without_checkpoints_has_none(tmp_path: Path):
    assert checkpoints(tmp_path / "nosuch") == []
