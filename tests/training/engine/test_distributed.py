"""Several processes share a step's samples without overlap."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from forked import in_processes

from janusflow.config.errors import ConfigError
from janusflow.config.training import LoopConfig
from janusflow.training.engine import distributed as processes
from janusflow.training.engine.distributed import (
    gathered,
    is_first,
    num_processes,
    own_parts,
    process_group,
    rank,
    require_group,
    summed,
)

PROGRAM = """
import json, torch
import torch.distributed as dist
from janusflow.config.training import LoopConfig
from janusflow.training.engine.distributed import (
    gathered, is_first, num_processes, own_parts, rank, summed
)

dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=2)
print(json.dumps({
    "sum": summed(torch.tensor([1.0, 2.0]) * (number + 1)).tolist(),
    "share": [list(part) for part in own_parts(range(5), LoopConfig(micro_batch_size=2))],
    "is_first": is_first(),
    "rank": rank(),
    "num": num_processes(),
    "gathered": gathered(["own", number]),
}))
dist.destroy_process_group()
"""


def test_two_processes_add_numbers_and_share_the_samples(tmp_path: Path):
    meeting = str(tmp_path / "meeting")
    names = [{"number": number, "meeting": meeting} for number in (0, 1)]
    ended = in_processes(exec, [(PROGRAM, own) for own in names])
    first, second = (json.loads(each.stdout) for each in ended)
    assert first["sum"] == second["sum"] == [3.0, 6.0]
    assert (first["share"], second["share"]) == ([[0, 4], [1]], [[2], [3]])
    assert (first["is_first"], second["is_first"]) == (True, False)
    assert [each["rank"] for each in (first, second)] == [0, 1]
    assert first["num"] == second["num"] == 2
    assert (first["gathered"], second["gathered"]) == ([["own", 0], ["own", 1]], None)


def test_a_group_is_left_after_success_alone():
    """After an error NCCL would wait there for processes that go on."""

    def fail_in_a_group() -> None:
        with process_group():
            require_group()
            raise ValueError("alone")

    with pytest.raises(ValueError, match="alone"):
        fail_in_a_group()
    assert dist.is_initialized()
    dist.destroy_process_group()
    with process_group():
        require_group()
    assert not dist.is_initialized()


def test_a_lone_process_takes_everything_and_adds_nothing():
    assert summed(torch.tensor([1.0])).tolist() == [1.0]
    assert (rank(), num_processes(), is_first()) == (0, 1, True)
    assert own_parts([3, 4], LoopConfig()) == [[3, 4]]
    assert gathered(7) == [7]


@pytest.mark.parametrize(
    ("num", "size", "num_parts"),
    [(1, None, 1), (2, 16, 1), (1, 11, 3), (3, 6, 2), (7, 1, 4), (32, 1, 1), (3, 1000, 1)],
)
def test_parts_are_all_the_samples_and_differ_by_one_at_most(
    num: int, size: int | None, num_parts: int, monkeypatch: pytest.MonkeyPatch
):
    items, shares = np.arange(32), []
    monkeypatch.setattr(processes, "num_processes", lambda: num)
    for number in range(num):
        monkeypatch.setattr(processes, "rank", lambda number=number: number)
        shares += own_parts(items, LoopConfig(micro_batch_size=size))
    assert len(shares) == num * num_parts
    assert sorted(np.concatenate(shares).tolist()) == items.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_fewer_samples_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "num_processes", lambda: 4)
    with pytest.raises(ConfigError, match=r"3 samples a step for 4 processes: raise the batch"):
        own_parts(range(3), LoopConfig())
