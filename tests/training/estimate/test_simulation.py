"""Steps counted without memory, against real ones, and what settings do to them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tiny_run import VAE, run_model
from tiny_stage import RATIOS, stage_recipe, write_parts
from torch import nn

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.training import ScaleConfig
from janusflow.costs.meter import counting
from janusflow.data.collate import TrainBatch
from janusflow.data.mixture import plan
from janusflow.training.engine.parallelize import distribute
from janusflow.training.estimate.dry_run import StageCost, dry_run
from janusflow.training.estimate.simulation import Memory, Simulation, num_bytes
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.estimate.typical import Typical
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.stage.freezing import train_only

ONE = DryRunConfig(gpus=1, precision="fp32")
MIXTURE = {"batch_size": 4, "row_tokens": 400, "ratios": RATIOS}
DRAWN = {"understanding": 0, "generation": 1, "text": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


def cost(root: Path, config: DryRunConfig = ONE, **changes: Any) -> StageCost:
    """Of a stage of four samples a step, two of them drawn."""
    settings = {"data": no_data(root), "mixture": MIXTURE} | changes
    return dry_run(stage_recipe(root, **settings), config)


def no_data(root: Path) -> dict[str, Any]:
    """Sources of which nothing is on disk: lengths are assumed."""
    nowhere = {"format": "captions", "path": str(root / "nowhere.jsonl")}
    return {"understanding": [nowhere], "generation": [nowhere], "text": [nowhere]}


def materialised(batch: TrainBatch) -> TrainBatch:
    drawings = batch.drawings
    assert drawings is not None
    assert batch.pixel_values is not None
    latents = None if drawings.latents is None else torch.zeros(drawings.latents.shape)
    return replace(
        batch,
        pixel_values=torch.zeros(batch.pixel_values.shape),
        drawings=replace(
            drawings, pixel_values=torch.zeros(drawings.pixel_values.shape), latents=latents
        ),
    )


@pytest.mark.parametrize("has_latents", [True, False])
@pytest.mark.parametrize("recomputes", [True, False])
def test_a_counted_batch_is_a_real_one(root: Path, has_latents: bool, recomputes: bool):
    """Operations and live bytes, the VAE's and the frozen tower's too."""
    data = {} if has_latents else {"data": no_data(root)}
    mixture = {"batch_size": 4, "ratios": [{"understanding": 1, "generation": 1, "text": 0}]}
    recipe = stage_recipe(root, mixture=mixture, **data)
    sizes = sizes_of(recipe)
    simulation = Simulation(recipe, sizes, Typical(recipe, sizes, ONE.lengths), ONE)
    phase = simulation.phase(0, steps=1)
    (alike,) = simulation._batches(plan(recipe.mixture, 0))
    counted = simulation.run(alike.batch, recomputes=recomputes)
    model = run_model()
    train_only(model, recipe.trainable)
    objective = JanusFlowObjective(model, recipe.objective, vae=AutoencoderKL(**VAE))
    model.llm.set_attn_implementation("sdpa")  # whole rows, as on the GPU that is simulated
    distribute(objective, ScaleConfig(recompute=recomputes))
    batch = materialised(alike.batch)
    with counting(trained=objective) as meter:
        torch.stack(list(objective(batch).values())).sum().backward()
    trained = sum(p.grad.nbytes for p in objective.parameters() if p.grad is not None)
    assert counted.forward.total() + counted.backward == meter.flops
    assert counted.activation_bytes == int(meter.peak_bytes) - trained
    assert ("vae_encoder" in counted.forward) != has_latents
    assert recomputes or phase.step_flops == meter.flops


def test_a_step_is_the_same_work_however_it_is_split(root: Path):
    """One sample fits into a row, and all are alike, so nothing depends on packing."""
    found = set()
    for gpus, accumulate in ((1, 1), (2, 1), (1, 4), (4, 2)):
        mixture = {"batch_size": 8, "row_tokens": 100, "ratios": [DRAWN]}
        loop = {"steps": 10, "accumulate": accumulate}
        config = replace(ONE, gpus=gpus)
        (phase,) = cost(root, config, mixture=mixture, loop=loop).phases
        assert (phase.size.rows, phase.size.generation_images) == (8, 8)
        found.add(phase.step_flops)
    assert len(found) == 1


def test_a_step_needs_a_sample_for_every_batch(root: Path):
    with pytest.raises(ConfigError, match="4 samples a step for 4 GPUs with 3 batches each"):
        cost(root, replace(ONE, gpus=4), loop={"steps": 10, "accumulate": 3})


def test_muon_keeps_one_moment_of_what_it_moves(root: Path):
    plain, muon = (
        cost(root, loop={"optimizer": {"muon": each}}, trainable=["llm"]).memory.optimizer
        for each in (False, True)
    )
    layers = run_model().llm.model.layers
    assert plain - muon == 4 * sum(p.numel() for p in layers.parameters() if p.ndim == 2)


def test_muon_and_shards_are_refused_before_anything_is_trained(root: Path):
    with pytest.raises(ConfigError, match=r"loop\.optimizer\.muon=true, .* with sharded weights"):
        cost(root, replace(ONE, gpus=2, shard=2), loop={"optimizer": {"muon": True}})


def test_only_what_trains_takes_gradients_optimizer_and_average(root: Path):
    memory = cost(root, trainable=["repa_head"]).memory
    head = run_model().repa_head
    assert isinstance(head, nn.Module)
    floats = 4 * sum(p.numel() for p in head.parameters())
    assert (memory.gradients, memory.optimizer, memory.average) == (floats, 2 * floats, floats)
    assert cost(root, trainable=["repa_head"], loop={"ema": 0.0}).memory.average == 0
    assert memory.total == sum(
        getattr(memory, name)
        for name in Memory.__dataclass_fields__
        if name != "activations_otherwise"
    )


def test_frozen_parts_take_less_backward(root: Path):
    everything = cost(root).phases[0]
    frozen = cost(root, trainable=["aligners", "generation_encoder"]).phases[0]
    assert frozen.forward_flops == everything.forward_flops
    assert frozen.backward_flops < everything.backward_flops


def test_checkpointing_trades_memory_for_running_blocks_again(root: Path):
    stages = [cost(root, replace(ONE, recompute=each)) for each in (False, True)]
    kept, again = (stage.memory for stage in stages)
    assert again.activations < 0.8 * kept.activations
    assert again.activations_otherwise == pytest.approx(kept.activations, rel=0.01)
    assert kept.activations_otherwise == pytest.approx(again.activations, rel=0.01)
    first, second = (stage.phases[0] for stage in stages)
    added = second.backward_flops - first.backward_flops
    assert 0 < added <= first.forward_flops["llm"]


def test_shared_copies_and_bf16_take_the_memory_they_should(root: Path):
    """FSDP gathers both blocks and the rest, whose gradients wait for the end of the step."""
    two = replace(ONE, gpus=2)
    copies, shared = (cost(root, replace(two, shard=shard)).memory for shard in (1, 2))
    for name in ("gradients", "optimizer", "average"):
        assert getattr(shared, name) == pytest.approx(getattr(copies, name) / 2, abs=4)
    alone = cost(root).memory
    halves = cost(root, replace(ONE, precision="bf16")).memory
    assert (halves.weights, halves.gradients) == (alone.weights, alone.gradients)
    model = run_model()
    train_only(model, stage_recipe(root).trainable)
    gathered = sum(p.numel() for p in model.parameters())
    waiting = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.requires_grad and "layers" not in name
    )
    assert shared.working_copy == 4 * (gathered + waiting)
    assert halves.working_copy == 2 * (gathered + waiting)
    assert copies.working_copy == alone.working_copy == 0


def test_a_batchs_bytes_are_those_of_its_tensors(root: Path):
    recipe = stage_recipe(root, data=no_data(root), mixture={"ratios": [DRAWN]})
    sizes = sizes_of(recipe)
    typical = Typical(recipe, sizes, ONE.lengths)
    batch = typical.collate.pack([typical.sample("generation", 0)])
    positions, pixels = batch.labels.numel(), 3 * 64 * 64
    assert num_bytes(batch) == 4 * pixels + positions * (6 * 8 + 2)
