"""Checkpoints are complete or absent, hold tensors alone, and only so many are kept."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from toy_run import toy_train

from janusflow.config.errors import CheckpointError
from janusflow.training.engine.checkpoint import (
    COMPLETE,
    TRUSTED,
    Checkpointer,
    checkpoints,
    load_into,
    newest_checkpoint,
    read_checkpoint,
)


def saved(run: Path, step: int, state: dict[str, Tensor], *, keep: int = 2) -> Path:
    with Checkpointer(run, keep=keep) as checkpointer:
        return checkpointer.save(step, state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_what_was_saved_is_read_back(tmp_path: Path, dtype: torch.dtype):
    state = {"matrix": torch.arange(12).view(3, 4).to(dtype), "number": torch.tensor(7)}
    path = saved(tmp_path, 3, state)
    assert path.name == "00000003"
    into = {name: torch.zeros_like(value) for name, value in state.items()}
    load_into(path, into)
    for read in (into, read_checkpoint(path)):
        assert list(read) == list(state)
        for name, value in state.items():
            assert read[name].dtype == value.dtype
            assert torch.equal(read[name], value)


def test_what_changes_while_it_is_written_is_saved_as_it_was(tmp_path: Path):
    state = {"weight": torch.zeros(1000)}
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        path = checkpointer.save(1, state)
        state["weight"] += 1
    assert torch.equal(read_checkpoint(path)["weight"], torch.zeros(1000))


def test_a_state_of_other_names_or_shapes_is_refused(tmp_path: Path):
    path = saved(tmp_path, 1, {"weight": torch.zeros(3)})
    for other in ({"bias": torch.zeros(3)}, {"weight": torch.zeros(4)}):
        with pytest.raises(CheckpointError, match="00000001 is not a checkpoint that can"):
            load_into(path, other)


@pytest.mark.parametrize(("keep", "left"), [(1, [1000]), (2, [999, 1000]), (9, [2, 10, 999, 1000])])
def test_the_newest_are_kept_by_step(tmp_path: Path, keep: int, left: list[int]):
    with Checkpointer(tmp_path, keep=keep) as checkpointer:
        for step in (2, 10, 999, 1000):
            checkpointer.save(step, {"step": torch.tensor(step)})
    assert [int(read_checkpoint(path)["step"]) for path in checkpoints(tmp_path)] == left


def test_every_nth_checkpoint_is_kept_for_good(tmp_path: Path):
    with Checkpointer(tmp_path, keep=1, keep_every=20) as checkpointer:
        for step in (10, 20, 30, 40, 50, 60, 70):
            checkpointer.save(step, {"step": torch.tensor(step)})
    assert [int(path.name) for path in checkpoints(tmp_path)] == [20, 40, 60, 70]


def test_one_without_its_description_does_not_count_and_makes_room(tmp_path: Path):
    unfinished = saved(tmp_path, 5, {"step": torch.tensor(5)})
    (unfinished / COMPLETE).unlink()
    assert checkpoints(tmp_path) == []
    saved(tmp_path, 4, {"step": torch.tensor(4)})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000004"]


def test_a_run_that_has_only_files_of_an_earlier_version_is_refused(
    tmp_path: Path,
):
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    for step in (100, 200):
        (tmp_path / "checkpoints" / f"{step:08d}.pt").touch()
    with pytest.raises(CheckpointError, match=r"00000200\.pt was written by an earlier") as told:
        toy_train(tmp_path)
    assert "\n" not in str(told.value)
    assert [path.suffix for path in (tmp_path / "checkpoints").iterdir()] == [".pt", ".pt"]
    path = saved(tmp_path, 3, {"step": torch.tensor(3)})
    assert newest_checkpoint(tmp_path) == path


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path):
    notes = tmp_path / "checkpoints" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    for step in (1, 2):
        saved(tmp_path, step, {"step": torch.tensor(step)}, keep=1)
    assert sorted(path.name for path in notes.parent.iterdir()) == ["00000002", "notes.txt"]


def test_a_full_disk_is_one_line_and_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    saved(tmp_path, 1, {"step": torch.tensor(1)}, keep=1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match=r"cannot write .*No space left on dev") as told:
            saved(tmp_path, 2, {"step": torch.tensor(2)}, keep=1)
    assert "\n" not in str(told.value)
    assert [path.name for path in checkpoints(tmp_path)] == ["00000001"]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path}/hacked",)

    path = saved(tmp_path, 1, {"step": torch.tensor(1)})
    (path / COMPLETE).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CheckpointError, match="system has no place in a checkpoint"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="system has no place in a checkpoint"):
        load_into(path, {"step": torch.tensor(0)})
    assert not (tmp_path / "hacked").exists()


def test_a_class_that_a_newer_pytorch_may_write_is_told_of_and_nothing_is_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = saved(tmp_path, 1, {"step": torch.tensor(1)})
    monkeypatch.setitem(TRUSTED, "torch.distributed.checkpoint.metadata", {"Metadata"})
    with pytest.raises(
        CheckpointError, match=r"metadata\.\w+, which is not .* \(PyTorch 2"
    ) as told:
        load_into(path, {"step": torch.tensor(0)})
    assert "keep it" in str(told.value)
    assert "delete" not in str(told.value)


def test_what_is_no_tensor_is_refused(tmp_path: Path):
    """Anything else would be unpickled as it pleases."""
    with pytest.warns(UserWarning, match="single process"):
        dcp.save({"step": 1}, checkpoint_id=tmp_path / "checkpoints" / "00000001", no_dist=True)
    (path,) = checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="BytesStorageMetadata, which is not read"):
        load_into(path, {"step": torch.tensor(0)})


def test_a_run_without_checkpoints_has_none(tmp_path: Path):
    assert checkpoints(tmp_path / "nosuch") == []
