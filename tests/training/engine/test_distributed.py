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
    all_reduce_sum,
    balance_by_tokens,
    gather_to_main,
    is_main_process,
    microbatches_of_rank,
    num_processes,
    process_group,
    rank,
    require_group,
)

PROGRAM = """
import json, pathlib, time, torch
import torch.distributed as dist
from janusflow.config.training import LoopConfig
from janusflow.training.engine.distributed import (
    balance_by_tokens, exchange, gather_to_all, gather_to_main, is_main_process, main_process_first,
    num_processes, microbatches_of_rank, rank, all_reduce_sum
)

LENGTHS = [[[9, 1], [8]], [[2], [3, 2]]]

def arrived_before(number):
    path = pathlib.Path(meeting).with_name("arrived")
    with main_process_first():
        time.sleep(0.3 * (1 - number))
        seen = path.exists()
        path.touch()
    return seen

dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=2)
print(json.dumps({
    "sum": all_reduce_sum(torch.tensor([1.0, 2.0]) * (number + 1)).tolist(),
    "share": [list(b) for b in microbatches_of_rank(range(5), LoopConfig(micro_batch_size=2))],
    "is_main_process": is_main_process(),
    "rank": rank(),
    "num": num_processes(),
    "told": gather_to_all(number),
    "exchanged": exchange([f"{number} to 0", f"{number} to 1 " + number * 9000 * "x"]),
    "balanced": [
        [text.tolist() for text in part]
        for part in balance_by_tokens(
            [[torch.full([n], number) for n in part] for part in LENGTHS[number]], length=len
        )
    ],
    "gathered": gather_to_main(["own", number]),
    "saw": arrived_before(number),
}))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_add_numbers_and_share_the_samples(tmp_path: Path):
    meeting = str(tmp_path / "meeting")
    names = [{"number": number, "meeting": meeting} for number in (0, 1)]
    ended = in_processes(exec, [(PROGRAM, own) for own in names])
    first, second = (json.loads(each.stdout) for each in ended)
    assert first["sum"] == second["sum"] == [3.0, 6.0]
    assert (first["share"], second["share"]) == ([[0, 4], [1]], [[2], [3]])
    assert (first["is_main_process"], second["is_main_process"]) == (True, False)
    assert (first["saw"], second["saw"]) == (False, True)
    assert first["told"] == second["told"] == [0, 1]
    assert first["exchanged"] == ["0 to 0", "1 to 0"]
    assert second["exchanged"] == ["0 to 1 ", "1 to 1 " + 9000 * "x"]
    # 18 tokens against 7: the 9 for the 3 leaves 12 and 13. The longer micro-batch comes first.
    assert first["balanced"] == [[8 * [0]], [[0], 3 * [1]]]
    assert second["balanced"] == [[9 * [0]], [2 * [1], 2 * [1]]]
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
    assert all_reduce_sum(torch.tensor([1.0])).tolist() == [1.0]
    assert (rank(), num_processes(), is_main_process()) == (0, 1, True)
    assert microbatches_of_rank([3, 4], LoopConfig()) == [[3, 4]]
    assert balance_by_tokens([["abc", "a", "ab"]], length=len) == [["abc", "a", "ab"]]
    assert gather_to_main(7) == [7]


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
        shares += microbatches_of_rank(items, LoopConfig(micro_batch_size=size))
    assert len(shares) == num * num_parts
    assert sorted(np.concatenate(shares).tolist()) == items.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_fewer_samples_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "num_processes", lambda: 4)
    with pytest.raises(ConfigError, match=r"3 samples a step for 4 processes: raise the batch"):
        microbatches_of_rank(range(3), LoopConfig())
