"""Whole stages counted without memory: against real ones, closed forms, and the paper's bill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tiny_run import VAE, run_model
from tiny_stage import RATIOS, stage_recipe, stage_tree
from torch import nn

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.training import ParallelismConfig
from janusflow.costs.meter import counting
from janusflow.data.batches.collate import Drawings, TrainBatch
from janusflow.training.engine.parallelize import parallelize
from janusflow.training.estimate.dry_run import StageCost, dry_run, dry_run_recipes
from janusflow.training.estimate.simulation import Simulation, num_bytes
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.recipes import read_recipe
from janusflow.training.stage.freezing import set_trainable, train_only

PAPER = Path(__file__).parents[3] / "recipes" / "janusflow-1.3b"
PAPER_DAYS = 1600
MIXTURE = {"batch_size": 4, "row_tokens": 400, "ratios": RATIOS}
DRAWN = {"understanding": 0, "generation": 1, "text": 0}
ONE = DryRunConfig(gpus=1)


def cost(
    root: Path, config: DryRunConfig = ONE, *, parallelism: Any = None, **changes: Any
) -> StageCost:
    """Of a stage of four samples a step, two of them drawn."""
    loop = {"steps": 10, **changes.pop("loop", {}), "parallelism": parallelism or {}}
    return dry_run(stage_recipe(root, **({"mixture": MIXTURE, "loop": loop} | changes)), config)


@pytest.fixture(scope="module")
def stage(root: Path) -> StageCost:
    return cost(root)


def materialised(batch: TrainBatch) -> TrainBatch:
    drawings = batch.drawings
    assert isinstance(drawings, Drawings)
    assert batch.pixel_values is not None
    assert drawings.pixel_values is not None
    zeros = torch.zeros(drawings.pixel_values.shape)
    return replace(
        batch,
        pixel_values=torch.zeros(batch.pixel_values.shape),
        drawings=replace(drawings, pixel_values=zeros),
    )


@pytest.mark.parametrize("recomputes", [True, False])
def test_a_counted_micro_batch_is_a_real_one(root: Path, recomputes: bool):
    """Operations and live bytes, the VAE's and the frozen tower's too."""
    recipe = stage_recipe(
        root, loop={"steps": 1, "parallelism": {"activation_checkpointing": recomputes}}
    )
    simulation = Simulation(recipe, sizes_of(recipe), ONE)
    batch = simulation.collate.pack([*simulation.samples.values()] * 2)
    forward, backward = simulation.run(batch)
    model = run_model()
    train_only(model, recipe.trainable)
    objective = JanusFlowObjective(model, recipe.objective, vae=AutoencoderKL(**VAE))
    model.llm.set_attn_implementation("sdpa")  # whole rows, as on the GPU that is simulated
    parallelize(objective, ParallelismConfig(activation_checkpointing=recomputes))
    real = materialised(batch)
    with counting(trained=objective) as meter:
        torch.stack(list(objective(real).values())).sum().backward()
    assert forward["vae_encoder"] > 0
    assert forward.total() + backward == meter.flops
    # What is drawn for an image on the CPU is copied to any other device: a few bytes each.
    assert 0 <= simulation.activation_bytes - meter.peak_bytes <= 8 * len(batch.drawings or ())
    assert simulation.batch_bytes == num_bytes(real)


def test_parameters_by_part_are_the_models_and_the_vaes(stage: StageCost):
    model = run_model()
    both = [*model.parameters(), *AutoencoderKL(**VAE).parameters()]
    assert sum(stage.parameters.values()) == sum(p.numel() for p in both)
    assert stage.trainable["llm"] == sum(p.numel() for p in model.llm.parameters())
    assert stage.trainable["understanding_encoder"] == stage.trainable["vae"] == 0


def test_days_follow_from_operations_peak_rate_and_its_share(stage: StageCost):
    (phase,) = stage.phases
    assert stage.flops == 10 * phase.step_flops
    assert stage.gpu_days == pytest.approx(stage.flops / (0.4 * 19.5e12) / 86_400)
    assert stage.hours == pytest.approx(24 * stage.gpu_days)
    twice = replace(stage, config=replace(ONE, mfu=0.8, gpus=2))
    assert twice.gpu_days == pytest.approx(stage.gpu_days / 2)
    assert twice.hours == pytest.approx(stage.hours / 4)


def test_every_ratio_is_a_phase_of_its_steps(root: Path):
    ratios = [
        {"understanding": 1, "generation": 0, "text": 0, "until": 4},
        {**DRAWN, "until": 20},
        {"understanding": 0, "generation": 0, "text": 1},
    ]
    found = cost(root, mixture={"batch_size": 3, "ratios": ratios})
    assert [phase.steps for phase in found.phases] == [4, 6]
    assert [phase.batch_stats["generation_images"] for phase in found.phases] == [0, 3]
    assert found.phases[0].batch_stats["understanding_images"] == 3


@pytest.mark.parametrize(
    ("name", "kind", "learnt"),
    [
        ("question_tokens", "understanding", 0),
        ("answer_tokens", "understanding", 1),
        ("prompt_tokens", "generation", 0),
        ("text_tokens", "text", 1),
    ],
)
def test_every_assumed_length_lengthens_its_kind(root: Path, name: str, kind: str, learnt: int):
    mixture = {"batch_size": 1, "ratios": [{**DRAWN, "generation": 0, kind: 1}]}
    short, long = (
        cost(root, replace(ONE, **{name: number}), mixture=mixture).phases[0].batch_stats
        for number in (20, 120)
    )
    assert long["tokens"] - short["tokens"] == 100
    assert long["learnt_tokens"] - short["learnt_tokens"] == 100 * learnt


def test_an_image_that_is_redrawn_is_seen_and_rounds_are_not_counted(root: Path):
    """16 patches and two tags more in each prompt; the tower, which REPA runs anyway, once more."""
    mixture = MIXTURE | {"ratios": [DRAWN]}
    (scenes,) = stage_tree(root)["data"]["generation"]
    plain = cost(root, mixture=mixture)
    seen = cost(root, mixture=mixture, data={"generation": [scenes | {"redraw": "Describe it."}]})
    (before,), (after,) = plain.phases, seen.phases
    assert before.batch_stats["understanding_images"] == 0
    assert after.batch_stats["understanding_images"] == MIXTURE["batch_size"]
    assert after.batch_stats["tokens"] - before.batch_stats["tokens"] == 18 * MIXTURE["batch_size"]
    tower = "understanding_encoder"
    assert after.forward_flops[tower] == 2 * before.forward_flops[tower]
    with pytest.raises(ConfigError, match=r"counts no rounds of preference \(method=dpo\)"):
        cost(root, preference={"method": "dpo"})


def test_a_step_is_the_same_work_however_it_is_split(root: Path):
    """One sample fits into a row, and all are alike, so nothing depends on packing."""
    found = set()
    for gpus, size in ((1, 4), (2, 1), (4, 1)):
        mixture = {"batch_size": 4, "row_tokens": 100, "ratios": [DRAWN]}
        config, loop = replace(ONE, gpus=gpus), {"micro_batch_size": size}
        (phase,) = cost(root, config, mixture=mixture, loop=loop).phases
        assert (phase.batch_stats["rows"], phase.batch_stats["generation_images"]) == (4, 4)
        found.add(phase.step_flops)
    assert len(found) == 1


def test_a_step_needs_a_sample_for_every_gpu(root: Path):
    with pytest.raises(ConfigError, match="4 samples a step for 8 processes"):
        cost(root, replace(ONE, gpus=8))


def test_from_a_cache_neither_the_vae_nor_a_frozen_tower_is_counted(root: Path, stage: StageCost):
    tree = stage_tree(root)["data"]
    cached = cost(root, data={**tree, "crops": 1, "cache": "no/where"}).phases[0].forward_flops
    plain = stage.phases[0].forward_flops
    computed = ("vae_encoder", "understanding_encoder")
    assert all(plain[part] > 0 for part in computed)
    assert not any(cached.get(part) for part in computed)
    for part in ("llm", "generation_encoder", "generation_decoder", "repa_head"):
        assert cached[part] == plain[part] > 0


def test_a_vae_in_bfloat16_and_one_image_at_a_time_takes_less_memory(root: Path, stage: StageCost):
    tree = stage_tree(root)["data"]
    tree["generation"][0] = {**tree["generation"][0], "options": {}}
    found = [
        cost(root, data=tree, vae_encoding=each, trainable=["aligners"], parallelism={}).memory
        for each in ({}, {"precision": "bf16"}, {"batch_size": 1})
    ]
    plain, half, single = found
    vae = 4 * sum(p.numel() for p in AutoencoderKL(**VAE).parameters())
    assert plain["weights"] - half["weights"] == vae / 2
    assert single["activations"] <= plain["activations"]
    assert half["activations"] <= plain["activations"]


def test_another_alignment_is_counted_and_a_scorer_of_its_own_is_not_loaded(root: Path):
    """The tower runs for the score of an image; for none, not even the head does."""

    def forward(**objective: str) -> dict[str, int]:
        mixture = {"batch_size": 1, "ratios": [DRAWN]}
        return cost(root, objective=objective, mixture=mixture).phases[0].forward_flops

    repa, none, score = forward(), forward(alignment="none"), forward(alignment="score")
    assert repa["understanding_encoder"] > 0 == none.get("understanding_encoder", 0)
    assert repa["repa_head"] > 0 == none.get("repa_head", 0) == score.get("repa_head", 0)
    assert score["scorer"] > 0
    with pytest.raises(ConfigError, match=r"does not load objective\.scorer=pair"):
        forward(alignment="score", scorer="pair")


def test_only_what_trains_takes_gradients_optimizer_and_average(root: Path):
    memory = cost(root, trainable=["repa_head"]).memory
    head = run_model().repa_head
    assert isinstance(head, nn.Module)
    floats = 4 * sum(p.numel() for p in head.parameters())
    found = [memory[name] for name in ("gradients", "optimizer", "average")]
    assert found == [floats, 2 * floats, floats]
    assert cost(root, trainable=["repa_head"], loop={"ema": 0.0}).memory["average"] == 0


def test_frozen_parts_take_less_backward(root: Path, stage: StageCost):
    (everything,) = stage.phases
    (frozen,) = cost(root, trainable=["aligners", "generation_encoder"]).phases
    assert frozen.forward_flops == everything.forward_flops
    assert frozen.backward_flops < everything.backward_flops


def test_recomputation_trades_memory_for_running_blocks_again(root: Path, stage: StageCost):
    again = cost(root, parallelism={"activation_checkpointing": True})
    assert again.memory["activations"] < 0.8 * stage.memory["activations"]
    first, second = (each.phases[0] for each in (stage, again))
    added = second.backward_flops - first.backward_flops
    assert 0 < added <= first.forward_flops["llm"]


def test_muon_keeps_one_moment_of_what_it_moves_and_refuses_shards(root: Path):
    plain, muon = (
        cost(root, loop={"optimizer": {"muon": each}}, trainable=["llm"]).memory["optimizer"]
        for each in (False, True)
    )
    layers = run_model().llm.model.layers
    assert plain - muon == 4 * sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    with pytest.raises(ConfigError, match=r"loop\.optimizer\.muon=true, .* with sharded weights"):
        cost(
            root,
            replace(ONE, gpus=2),
            parallelism={"hsdp_shard_size": 2},
            loop={"optimizer": {"muon": True}},
        )


@pytest.mark.slow
def test_shared_copies_and_bf16_take_the_memory_they_should(root: Path, stage: StageCost):
    """FSDP gathers both blocks and the rest, whose gradients wait for the end of the step."""
    two = replace(ONE, gpus=2)
    copies, shared = (
        cost(root, two, parallelism={"hsdp_shard_size": hsdp_shard_size}).memory
        for hsdp_shard_size in (1, 2)
    )
    for name in ("gradients", "optimizer", "average"):
        assert shared[name] == pytest.approx(copies[name] / 2, abs=4)
    alone, halves = stage.memory, cost(root, parallelism={"precision": "bf16"}).memory
    for name in ("weights", "gradients"):
        assert halves[name] == alone[name]
    model = run_model()
    train_only(model, stage_recipe(root).trainable)
    gathered = sum(p.numel() for p in model.parameters())
    waiting = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.requires_grad and "layers" not in name
    )
    assert shared["working_copy"] == 4 * (gathered + waiting)
    assert halves["working_copy"] == 2 * (gathered + waiting)
    assert copies["working_copy"] == alone["working_copy"] == 0


@pytest.mark.parametrize(
    ("tune", "frozen_bytes"),
    [({"rank": 4}, 4), ({"rank": 4, "method": "dora", "base_precision": "bf16"}, 2)],
    ids=["lora", "dora-bf16"],
)
def test_an_adapter_is_counted_as_it_is_trained(
    root: Path, stage: StageCost, tune: dict[str, Any], frozen_bytes: int
):
    found = cost(root, tune=tune, trainable=[])
    model = run_model()
    set_trainable(model, stage_recipe(root, tune=tune, trainable=[]))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert sum(found.trainable.values()) == trained
    assert found.trainable["understanding_encoder"] == found.trainable["repa_head"] == 0
    assert found.memory["gradients"] == found.memory["average"] == 4 * trained
    assert found.memory["optimizer"] == 8 * trained
    vae = found.parameters["vae"] * 4
    assert found.memory["weights"] == 4 * trained + frozen_bytes * frozen + vae
    full = sum(stage.memory[name] for name in ("gradients", "optimizer", "average"))
    assert sum(found.memory[name] for name in ("gradients", "optimizer", "average")) < full / 2
    # The frozen weights need no gradient: less than with all of them trained.
    assert found.phases[0].backward_flops < stage.phases[0].backward_flops


def test_the_stages_of_a_folder_are_counted_one_by_one_and_other_tasks_refused(
    root: Path, tmp_path: Path
):
    (tmp_path / "0.yaml").write_text("task: scenes\nrun: a\nnum_scenes: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="task is scenes"):
        dry_run_recipes(tmp_path / "0.yaml", (), ONE)
    for name in ("1", "2"):
        tree = stage_tree(root, mixture=MIXTURE, run=str(tmp_path / name))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    stages = dry_run_recipes(tmp_path, (), ONE)
    assert [stage.run for stage in stages] == [str(tmp_path / name) for name in ("1", "2")]


# ---- the paper ------------------------------------------------------------------------------


@pytest.mark.slow
def test_512_packed_rows_a_step_explain_the_papers_bill_and_512_samples_do_not():
    """1,600 A100-days are 2 to 5% of the peak rate for samples, 10 to 40% for rows of 4,096.

    Of stage 2 after its first steps, which is nearly all of the paper's training.
    """
    ratio = "mixture.ratios=[{understanding: 14, generation: 80, text: 6}]"
    size = ("mixture.batch_size=50", "loop.micro_batch_size=50")
    found = dry_run(read_recipe(PAPER / "stage2.yaml", (ratio, *size)), replace(ONE, mfu=1.0))
    (phase,) = found.phases
    by_samples = found.gpu_days * 512 / 50 / PAPER_DAYS
    by_rows = by_samples * 50 / phase.batch_stats["rows"]
    assert 0.02 < by_samples < 0.05
    assert 0.10 < by_rows < 0.40
