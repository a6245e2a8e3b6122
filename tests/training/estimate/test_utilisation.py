"""Operations by the closed form, against the counter; what devices can do, by their names."""

from pathlib import Path

import pytest
import torch
from tiny_run import TinySources, draw, make_collator, run_model
from tiny_stage import stage_recipe
from torch import Tensor
from torch.nn import functional

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.gpus import GPUS
from janusflow.config.training import ObjectiveConfig
from janusflow.training.estimate import utilisation
from janusflow.training.estimate.simulation import Simulation
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.estimate.utilisation import device_tflops, model_flops
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.recipes import read_recipe

PAPER = Path(__file__).parents[3] / "recipes" / "janusflow-1.3b"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_the_closed_form_is_what_runs_without_the_vae_and_recomputed_scores(stage: str):
    """Attention's backward pass computes its scores again, which no utilisation counts."""
    recipe = read_recipe(PAPER / f"{stage}.yaml")
    simulation = Simulation(recipe, sizes_of(recipe), DryRunConfig())
    samples = simulation.samples
    batch = simulation.collate.pack([*samples.values(), samples["generation"]])
    forward, backward = simulation.run(batch)
    model, batch_stats = simulation.model, simulation.objective.batch_stats(batch)
    llm = model.config.llm_config
    scores = (
        2 * llm.num_hidden_layers * llm.num_attention_heads * llm.head_dim * batch_stats["pairs"]
    )
    wanted = forward.total() - forward["vae_encoder"] + backward - scores
    told = model_flops(model, aligns=recipe.objective.uses_head)(batch_stats)
    assert told == pytest.approx(wanted, rel=0.01)


@pytest.mark.slow
def test_an_adapters_frozen_weights_want_no_gradient_of_theirs():
    recipe = read_recipe(PAPER / "stage3.yaml", ("tune.rank=16", "trainable=[]"))
    simulation = Simulation(recipe, sizes_of(recipe), DryRunConfig())
    samples = simulation.samples
    batch = simulation.collate.pack([*samples.values(), samples["generation"]])
    forward, backward = simulation.run(batch)
    model, batch_stats = simulation.model, simulation.objective.batch_stats(batch)
    llm = model.config.llm_config
    scores = (
        2 * llm.num_hidden_layers * llm.num_attention_heads * llm.head_dim * batch_stats["pairs"]
    )
    wanted = forward.total() - forward["vae_encoder"] + backward - scores
    told = model_flops(model, aligns=recipe.objective.uses_head)(batch_stats)
    assert told == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", GPUS["h100"].bf16_tflops),
        ("NVIDIA A100-SXM4-40GB", GPUS["a100-40gb"].bf16_tflops),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA L40", None),
    ],
)
def test_a_gpu_is_known_by_the_whole_name_its_driver_gives(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: float | None
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert device_tflops("bf16") == expected
    if expected is not None:
        told = device_tflops("fp32")
        assert told is not None
        assert told < expected / 4


def test_mfu_is_what_a_step_does_by_time_peak_and_processes(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(utilisation, "num_processes", lambda: 3)
    model, recipe = run_model(), stage_recipe(root, log={"peak_tflops": 2.0})
    mfu = utilisation.stage_mfu(recipe, model)
    batch_stats = {"positions": 100, "pairs": 10**4, "logits": 50}
    batch_stats |= {"understanding_images": 2, "generation_images": 3}
    assert mfu is not None
    flops = model_flops(model, aligns=True)(batch_stats)
    assert mfu(batch_stats, 5.0) == pytest.approx(flops / (5.0 * 3 * 2e12))
    assert utilisation.stage_mfu(stage_recipe(root), model) is None


def test_without_a_gpu_there_is_no_peak(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_tflops("bf16") is None


def test_pairs_are_tallied_as_their_scores_are_computed(
    sources: TinySources, monkeypatch: pytest.MonkeyPatch
):
    """On a CPU within samples; the tower's attention, which has no mask, is no pair of the LLM."""
    num_scores, original = [], functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, *rest: object, attn_mask: object, **more: object):
        if attn_mask is not None:
            num_scores.append(query.shape[0] * query.shape[-2] * key.shape[-2])
        return original(query, key, *rest, attn_mask=attn_mask, **more)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    model = run_model()
    batch = make_collator(model)(draw(sources, "understanding", "generation", "text", "generation"))
    objective = JanusFlowObjective(model, ObjectiveConfig())
    objective(batch)
    layers = model.config.llm_config.num_hidden_layers
    assert layers * objective.batch_stats(batch)["pairs"] == sum(num_scores)
