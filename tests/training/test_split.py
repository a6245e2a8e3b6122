"""However a step is split among processes and batches, its losses and gradients are the same."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from split_run import split, step_of, tower_step_of
from tiny_run import LLM, TinySources
from torch import Tensor

from janusflow.config.training import Alignment, ParallelismConfig


@pytest.fixture(scope="module")
def whole(sources: TinySources) -> dict[str, Tensor]:
    return step_of(sources)


def assert_same_step(
    split: dict[str, Tensor], whole: dict[str, Tensor], *, atol: float = 1e-5
) -> None:
    assert list(split) == list(whole)
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], atol=atol, rtol=0, msg=name)
    largest = max(float(whole[name].abs().max()) for name in whole if name != "batch_stats")
    assert largest > 0.1  # the tolerance is far below what is compared


@pytest.mark.parametrize("micro_batch", [6, 3, 1])
def test_a_step_in_several_batches_is_the_step_in_one(
    sources: TinySources, whole: dict[str, Tensor], micro_batch: int
):
    """Twelve batches of one sample hold one kind each."""
    assert_same_step(step_of(sources, micro_batch=micro_batch), whole)


@pytest.mark.parametrize(
    ("num_processes", "micro_batch", "parallelism"),
    [
        (2, 6, {"hsdp_shard_size": 0}),
        (3, 1, {"hsdp_shard_size": 0, "activation_checkpointing": True}),
        pytest.param(4, 2, {"hsdp_shard_size": 2}, marks=pytest.mark.slow),
        (2, 2, {}),
    ],
    ids=["sharded", "one sample a batch, recomputed", "two copies in two shards each", "copies"],
)
def test_a_step_in_several_processes_is_the_step_in_one(
    sources: TinySources,
    whole: dict[str, Tensor],
    tmp_path: Path,
    num_processes: int,
    micro_batch: int,
    parallelism: dict[str, Any],
):
    """With one sample a batch, processes use different parts of the model at the same time."""
    arguments = ("gradients", str(micro_batch), json.dumps(parallelism), "repa")
    assert_same_step(split(num_processes, tmp_path / "out.pt", sources, *arguments), whole)


@pytest.mark.parametrize(
    ("num_processes", "parallelism"),
    [
        (2, {"hsdp_shard_size": 0}),
        pytest.param(2, {}, marks=pytest.mark.slow),
    ],
    ids=["sharded", "copies"],
)
def test_an_adapters_step_in_several_processes_is_the_step_in_one(
    sources: TinySources, tmp_path: Path, num_processes: int, parallelism: dict[str, Any]
):
    """Its frozen base is shared out too, and has no gradient."""
    whole = step_of(sources, has_adapter=True)
    trained = [name for name in whole if name.startswith("model.")]
    assert trained
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    arguments = ("gradients", "6", json.dumps(parallelism), "repa", "adapter")
    assert_same_step(split(num_processes, tmp_path / "out.pt", sources, *arguments), whole)


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ["contrastive", "score", "none"])
def test_so_it_is_whatever_helps_drawing(
    sources: TinySources, tmp_path: Path, alignment: Alignment
):
    """In four batches, and in two sharded processes of two batches each."""
    whole = step_of(sources, alignment=alignment)
    assert whole.keys() & {*get_args(Alignment)} == {alignment} - {"none"}
    assert_same_step(step_of(sources, alignment=alignment, micro_batch=3), whole)
    arguments = ("gradients", "3", json.dumps({"hsdp_shard_size": 0}), alignment)
    assert_same_step(split(2, tmp_path / "out.pt", sources, *arguments), whole)


@pytest.mark.parametrize("parallelism", [{}, {"hsdp_shard_size": 0}], ids=["copies", "sharded"])
def test_a_step_of_the_tower_is_the_same_however_it_is_split(
    sources: TinySources, tmp_path: Path, parallelism: dict[str, Any]
):
    """Though every patch is compared with the phrases of other processes and batches."""
    whole = tower_step_of(sources)
    for micro_batch in (4, 1):
        assert_same_step(tower_step_of(sources, micro_batch=micro_batch), whole)
    found = split(2, tmp_path / "out.pt", sources, "tower", "3", json.dumps(parallelism))
    assert_same_step(found, whole)


@pytest.mark.slow
def test_gradients_are_sent_once_a_step_however_many_micro_batches(
    sources: TinySources, tmp_path: Path
):
    """One message a block, and one for all that is outside of blocks."""
    counts = [
        split(2, tmp_path / "out.pt", sources, "messages", size, json.dumps({"hsdp_shard_size": 0}))
        for size in ("6", "2")
    ]
    assert counts == [{"messages": LLM["num_hidden_layers"] + 1}] * 2


def test_recomputing_changes_no_gradient(sources: TinySources, whole: dict[str, Tensor]):
    assert_same_step(
        step_of(sources, parallelism=ParallelismConfig(activation_checkpointing=True)),
        whole,
        atol=1e-6,
    )


def test_bf16_shards_leave_latents_and_pixels_as_the_data_has_them(
    sources: TinySources, tmp_path: Path
):
    """So data - noise is float32, and the VAE sees whole pixels; the model casts for itself."""
    parallelism = json.dumps({"precision": "bf16", "hsdp_shard_size": 0})
    found = split(2, tmp_path / "out.pt", sources, "inputs", "12", parallelism)
    assert found == {"latents": 0.0, "pixels": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("hsdp_shard_size", [0, 1], ids=["one copy between them", "a copy each"])
def test_bf16_differs_by_its_rounding_alone_and_is_added_up_in_float32(
    sources: TinySources, whole: dict[str, Tensor], tmp_path: Path, hsdp_shard_size: int
):
    """Eight bits of mantissa: each gradient within some hundredths of the float32 one's norm."""
    parallelism = json.dumps({"precision": "bf16", "hsdp_shard_size": hsdp_shard_size})
    found = split(2, tmp_path / "out.pt", sources, "gradients", "6", parallelism, "repa")
    assert list(found) == list(whole)
    assert not torch.equal(found["flow_mse"], whole["flow_mse"])
    for name in ("ce_answer", "ce_text", "flow_mse", "repa"):
        torch.testing.assert_close(found[name], whole[name], atol=0, rtol=0.02)
    gradients = [name for name in whole if name.startswith("model.")]
    total = torch.stack([whole[name].norm() for name in gradients]).norm()
    off = torch.stack([(found[name] - whole[name]).norm() for name in gradients]).norm()
    assert 1e-5 * total < off < 0.05 * total
    # A sum of two halves that were added up in float32 is mostly no half itself.
    is_half = torch.cat([(found[n] == found[n].bfloat16()).flatten() for n in gradients])
    assert float(is_half.float().mean()) < 0.8
