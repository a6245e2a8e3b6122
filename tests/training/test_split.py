"""However a step is split among processes and batches, its losses and gradients are the same."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from split_run import step_of
from tiny_run import TinySources
from torch import Tensor

PROGRAM = Path(__file__).parents[1] / "split_run.py"


@pytest.fixture(scope="module")
def whole(sources: TinySources) -> dict[str, Tensor]:
    return step_of(sources, num_parts=1)


def assert_same_step(split: dict[str, Tensor], whole: dict[str, Tensor]) -> None:
    assert list(split) == list(whole)
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], atol=1e-5, rtol=0, msg=name)
    largest = max(float(whole[name].abs().max()) for name in whole if name != "tally")
    assert largest > 0.1  # the tolerance is far below what is compared


@pytest.mark.parametrize("num_parts", [2, 5, 12])
def test_a_step_in_several_batches_is_the_step_in_one(
    sources: TinySources, whole: dict[str, Tensor], num_parts: int
):
    """Twelve batches of one sample hold one kind each."""
    assert_same_step(step_of(sources, num_parts=num_parts), whole)


@pytest.mark.parametrize(("num_processes", "num_parts"), [(2, 1), (3, 2)])
def test_a_step_in_several_processes_is_the_step_in_one(
    sources: TinySources,
    whole: dict[str, Tensor],
    tmp_path: Path,
    num_processes: int,
    num_parts: int,
):
    out = tmp_path / "step.pt"
    command = [sys.executable, str(PROGRAM), str(sources.folder), str(out)]
    running = [
        subprocess.Popen([*command, str(rank), str(num_processes), str(num_parts)])
        for rank in range(num_processes)
    ]
    assert [each.wait(timeout=240) for each in running] == [0] * num_processes
    assert_same_step(torch.load(out), whole)
