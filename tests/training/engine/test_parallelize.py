"""Runs in several processes: the same curves, resumed anywhere, by any number of processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import split_run
import torch
from split_run import run_of, split
from tiny_run import LLM, TinySources, run_model, run_vae
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from janusflow.config.errors import ConfigError
from janusflow.config.training import ObjectiveConfig, ParallelismConfig
from janusflow.training.engine import parallelize as parallelism
from janusflow.training.engine.loop import accumulate_gradients
from janusflow.training.engine.parallelize import device_mesh, parallelize, to_device
from janusflow.training.objectives.janusflow import JanusFlowObjective

STEPS = 4
SHARDED = '{"hsdp_shard_size": 0}'
LOSSES = ("ce_answer", "ce_text", "flow_mse", "repa")


@pytest.fixture(scope="module")
def alone(sources: TinySources, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What one process leaves that is never interrupted."""
    return run_of(sources, tmp_path_factory.mktemp("alone"), steps=STEPS)


def assert_same_run(run: dict[str, Tensor], alone: dict[str, Tensor], *, since: int = 1) -> None:
    """The same losses; the same weights and averages but where Adam divides nothing by nothing.

    A gradient that is zero in theory (a key's bias) is rounding, and its first steps are as long as
    any.
    """
    for name in LOSSES:
        for step in range(since, STEPS + 1):
            key = f"{name} {step}"
            torch.testing.assert_close(run[key], alone[key], atol=1e-4, rtol=0, msg=key)
    weights = [name for name in alone if name.rsplit(" ", 1)[0] not in LOSSES]
    assert any(name.startswith("average of") for name in weights)
    off = torch.cat([(run[name] - alone[name]).abs().flatten() for name in weights])
    assert float((off > 1e-4).float().mean()) < 0.01


@pytest.mark.parametrize("num", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_have_the_curves_of_one(
    sources: TinySources, alone: dict[str, Tensor], tmp_path: Path, num: int
):
    out = tmp_path / "out.pt"
    assert_same_run(split(num, out, sources, str(STEPS), "12", SHARDED), alone)


@pytest.mark.slow
def test_two_processes_that_share_muons_work_have_the_curves_of_one(
    sources: TinySources, tmp_path: Path
):
    alone = run_of(sources, tmp_path / "alone", steps=STEPS, muon=True)
    found = split(2, tmp_path / "out.pt", sources, str(STEPS), "12", "{}", "muon")
    assert_same_run(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 3), (2, 4)])
def test_a_run_goes_on_in_another_number_of_processes(
    sources: TinySources, alone: dict[str, Tensor], tmp_path: Path, first: int, then: int
):
    out = tmp_path / "out.pt"
    split(first, out, sources, "2", "12", SHARDED)
    rest = split(then, out, sources, str(STEPS), "12", SHARDED)
    assert not any(f"{name} 2" in rest for name in LOSSES)
    assert_same_run(rest, alone, since=3)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_two_processes_killed_about_a_checkpoint_go_on_as_if_nothing_had_happened(
    sources: TinySources, alone: dict[str, Tensor], tmp_path: Path, delay: float
):
    """Killed so many seconds after the folder of the first checkpoint appears."""
    command = [sys.executable, split_run.__file__, str(sources.folder), str(tmp_path / "out.pt")]
    running = [
        subprocess.Popen(
            [*command, str(rank), "2", str(STEPS), "12", SHARDED],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/00000002").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(delay)
    for each in running:
        each.kill()
    assert all(each.wait() in (0, -signal.SIGKILL) for each in running)
    (tmp_path / "out.pt.meeting").unlink(missing_ok=True)
    rest = run_of(sources, tmp_path / "run", steps=STEPS)
    since = next(step for step in range(1, STEPS + 2) if f"flow_mse {step}" in rest or step > STEPS)
    assert since in (1, 3, STEPS + 1)
    assert_same_run(rest, alone, since=since)


def test_blocks_are_computed_again_for_their_gradients_if_asked(sources: TinySources):
    """Every block's matrix products once more, but for the last, whose result nobody needs."""
    counts = {}
    for activation_checkpointing in (False, True):
        with FlopCounterMode(display=False) as counter:
            split_run.step_of(
                sources,
                parallelism=ParallelismConfig(activation_checkpointing=activation_checkpointing),
            )
        counts[activation_checkpointing] = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    (batch,) = next(split_run.batches_of(sources, 5))
    hidden, inner = LLM["hidden_size"], LLM["intermediate_size"]
    of_a_block = 2 * batch.labels.numel() * (4 * hidden**2 + 2 * hidden * inner)
    assert counts[True] - counts[False] == of_a_block * LLM["num_hidden_layers"]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo looks at every tensor's
@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_blocks_are_compiled_if_asked_be_they_run_again_or_not(
    sources: TinySources, monkeypatch: pytest.MonkeyPatch, activation_checkpointing: bool
):
    """What they compute is what they computed before."""
    graphs = []

    def counting(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    (batch,) = next(split_run.batches_of(sources, 5))
    losses = {}
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    for compiles in (False, True):
        objective = split_run.new_objective()
        objective.model.llm.set_attn_implementation("sdpa")
        parallelize(
            objective,
            ParallelismConfig(compile=compiles, activation_checkpointing=activation_checkpointing),
        )
        losses[compiles], _ = accumulate_gradients(objective, [batch])
    torch.testing.assert_close(losses[True], losses[False])
    assert len(graphs) == 1


def test_copies_in_bfloat16_leave_the_frozen_vae_in_float32(sources: TinySources):
    vae = run_vae()
    objective = JanusFlowObjective(run_model(), ObjectiveConfig(), vae=vae)
    parallelize(objective, ParallelismConfig(precision="bf16"))
    found: dict[str, torch.dtype] = {}
    block = cast(LlamaDecoderLayer, objective.blocks()[0])
    for name, part in (("vae", vae.encoder), ("llm", block.mlp)):
        part.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.dtype}))
    (batch,) = next(split_run.batches_of(sources, 5))
    assert batch.drawings is not None
    objective(replace(batch, drawings=replace(batch.drawings, latents=None)))
    assert found == {"vae": torch.float32, "llm": torch.bfloat16}


def test_copies_of_unequal_size_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parallelism, "num_processes", lambda: 6)
    with pytest.raises(
        ConfigError, match="hsdp_shard_size=4 for 6 processes: wanted a number that divides"
    ):
        device_mesh(ParallelismConfig(hsdp_shard_size=4))


def test_a_batch_is_moved_with_everything_in_it():
    @dataclass(frozen=True)
    class Inner:
        values: Tensor

    @dataclass(frozen=True)
    class Outer:
        inner: Inner | None
        seeds: tuple[int, ...]
        values: Tensor

    there = to_device(Outer(Inner(torch.ones(2)), (1, 2), torch.ones(3)), torch.device("meta"))
    assert there.inner.values.device.type == there.values.device.type == "meta"
    assert there.seeds == (1, 2)
    assert to_device(Outer(None, (), torch.ones(1)), torch.device("meta")).inner is None
