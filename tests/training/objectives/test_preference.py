"""Losses of preference in closed form, what they do to a velocity, and what a step computes."""

import math
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny_rounds import SETTINGS, preference_objective, rounds_of
from tiny_run import TinySources, draw, make_collator, make_sources, run_model, run_vae
from torch import Tensor

from janusflow.config.learning.preference import PreferenceConfig
from janusflow.config.training import LoopConfig, ObjectiveConfig
from janusflow.data.batches.collate import TrainBatch
from janusflow.data.samples import GenerationSample
from janusflow.flow.path import PathPoint, point_on_path
from janusflow.training.engine.loop import accumulate_gradients
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.preference import (
    PreferenceBatch,
    PreferenceObjective,
    as_rewards,
    dpo_loss,
    group_advantages,
    nft_loss,
)


def case(num: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor, PathPoint]:
    """A trained velocity, an old one and where they are compared."""
    generator = torch.Generator().manual_seed(seed)
    velocity, old, data, noise = torch.randn(4, num, 4, 8, 8, generator=generator)
    point = point_on_path(data=data, noise=noise, t=torch.rand(num, generator=generator))
    return velocity, old, point


def distance_to_data(velocity: Tensor, point: PathPoint) -> Tensor:
    """The error of the data a velocity points to, in the loss's units: mean square over mean."""
    off = (1 - point.t)[:, None, None, None] * (velocity - point.velocity)
    return off.square().mean((1, 2, 3)) / off.abs().mean((1, 2, 3)).detach()


@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_nft_of_the_best_and_worst_is_the_error_of_either_side_alone(beta: float):
    velocity, old, point = case()
    good = nft_loss(velocity, old, point, torch.ones(3), beta=beta)
    bad = nft_loss(velocity, old, point, torch.zeros(3), beta=beta)
    ahead = beta * velocity + (1 - beta) * old
    behind = (1 + beta) * old - beta * velocity
    torch.testing.assert_close(good, distance_to_data(ahead, point) / beta)
    torch.testing.assert_close(bad, distance_to_data(behind, point) / beta)
    mixed = nft_loss(velocity, old, point, torch.full((3,), 0.3), beta=beta)
    torch.testing.assert_close(mixed, 0.3 * good + 0.7 * bad)


def gradient_at_old(reward: float, *, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Of the loss by the velocity where it is still the old one, and the way to the data."""
    _, old, point = case()
    velocity = old.clone().requires_grad_()
    loss = nft_loss(velocity, old, point, torch.full((3,), reward), beta=beta).sum()
    (gradient,) = torch.autograd.grad(loss, velocity)
    return gradient, point.velocity - old


def test_nft_moves_towards_good_images_away_from_bad_ones_and_not_for_average_ones():
    towards, way = gradient_at_old(1.0)
    away, _ = gradient_at_old(0.0)
    still, _ = gradient_at_old(0.5)
    for one, other in zip(towards.flatten(1), way.flatten(1), strict=True):
        assert float(torch.cosine_similarity(-one, other, dim=0)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(away, -towards)
    assert not still.any()
    small, _ = gradient_at_old(1.0, beta=0.1)  # the loss is divided by beta
    torch.testing.assert_close(small, towards)


def test_dpo_is_log_two_at_the_old_policy_and_pushes_both_by_half_of_half_beta():
    gains = torch.zeros(2, 2, requires_grad=True)
    rewards = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = dpo_loss(gains, rewards, beta=100.0)
    torch.testing.assert_close(loss, torch.full((2,), math.log(2)))
    loss.sum().backward()
    torch.testing.assert_close(gains.grad, torch.tensor([[25.0, -25.0], [-25.0, 25.0]]))


def test_dpo_is_the_logistic_loss_of_the_margin_and_nothing_where_both_are_alike():
    gains = torch.tensor([[-0.02, 0.01]], requires_grad=True)
    loss = dpo_loss(gains, torch.tensor([[1.0, 0.0]]), beta=100.0)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1.5)))
    alike = dpo_loss(gains, torch.tensor([[0.5, 0.5]]), beta=100.0)
    (gradient,) = torch.autograd.grad(alike.sum(), gains)
    assert alike.item() == pytest.approx(math.log(2))
    assert not gradient.any()


def test_advantages_know_neither_unit_nor_zero_of_a_reward_nor_of_a_prompt():
    rewards = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    of_prompt = torch.randn(5, 1, generator=torch.Generator().manual_seed(1))
    found = group_advantages({"a": rewards}, {"a": 1.0})
    moved = group_advantages({"a": 7 * rewards + 10 * of_prompt}, {"a": 1.0})
    torch.testing.assert_close(moved, found, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.mean(1), torch.zeros(5, dtype=torch.float64))
    assert float(found.square().mean()) == pytest.approx(1, abs=1e-6)


def test_advantages_add_up_by_weight_and_alike_groups_have_none():
    a, b = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    a[1] = b[1] = 0.1
    both = group_advantages({"a": a, "b": 1000 * b, "c": a}, {"a": 1.0, "b": 0.5, "c": 0.0})
    alone = [group_advantages({"x": each}, {"x": 1.0}) for each in (a, b)]
    torch.testing.assert_close(both, alone[0] + 0.5 * alone[1], atol=1e-6, rtol=0)
    assert float(both[1].abs().max()) < 1e-6
    all_alike = group_advantages({"a": torch.full((2, 3), 0.1)}, {"a": 1.0})
    assert float(all_alike.abs().max()) < 1e-6


def test_rewards_are_advantages_cut_and_laid_into_zero_to_one():
    advantages = torch.tensor([[-9.0, -2.5, 0.0, 5.0]])
    assert as_rewards(advantages, clip=5.0).tolist() == [[0.0, 0.25, 0.5, 1.0]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> TinySources:
    return make_sources(tmp_path_factory.mktemp("scenes"))


@pytest.mark.parametrize(
    ("method", "kl_weight", "forwards"),
    [("nft", 1e-4, 3), ("nft", 0.0, 2), ("dpo", 0.0, 2), ("sft", 0.0, 1)],
)
def test_a_step_takes_a_forward_a_policy_and_the_losses_begin_where_they_should(
    sources: TinySources, tmp_path: Path, method: str, kl_weight: float, forwards: int
):
    settings = {**SETTINGS, "method": method, "kl_weight": kl_weight, "steps_per_round": 1}
    objective = preference_objective(PreferenceConfig(**settings))
    objective.begin()
    rounds = rounds_of(sources, objective, run=tmp_path, loop=LoopConfig())
    drawn = rounds.draw(0)
    calls = Counter[str]()
    read_rows = objective.model.read_rows

    def counted(*args: object, **kwargs: object) -> object:
        calls["forward"] += 1
        return read_rows(*args, **kwargs)  # pyright: ignore[reportArgumentType]

    with mock.patch.object(objective.model, "read_rows", counted):
        losses, stats = accumulate_gradients(objective, rounds.of_step(drawn, 0))
    assert calls == {"forward": forwards}
    assert stats["samples"] == {"nft": 8, "dpo": 4, "sft": 2}[method]
    assert {*losses} == {method} | ({"kl"} if kl_weight else set())
    if kl_weight:
        assert float(losses["kl"]) == 0.0
    if method == "dpo":
        assert float(losses["dpo"]) == pytest.approx(math.log(2))
    moved = {n for n, p in objective.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.split(".")[1] for name in moved} == {
        *("generation_encoder", "generation_decoder", "llm")
    }


def distilled(
    sources: TinySources, run: Path, *, drawn_from: str | None = None
) -> tuple[float, PreferenceObjective, list[TrainBatch]]:
    """Loss of a first step of distill, of drawings that came from the prompts or this plan."""
    settings = {**SETTINGS, "method": "distill", "planned": 1.0, "steps_per_round": 1}
    objective = preference_objective(PreferenceConfig(**settings))
    objective.begin()
    rounds = rounds_of(sources, objective, run=run, loop=LoopConfig())
    drawn = rounds.draw(0)
    texts = [[drawn_from or prompt] * 4 for prompt in drawn.prompts]
    batches = rounds.of_step(replace(drawn, drawn_from=texts), 0)
    losses, stats = accumulate_gradients(objective, batches)
    assert {*losses} == {"distill"}
    assert stats["samples"] == 8
    return float(losses["distill"].detach()), objective, batches


def test_distill_has_nothing_to_learn_of_drawings_whose_plan_is_the_prompt(
    sources: TinySources, tmp_path: Path
):
    loss, objective, _ = distilled(sources, tmp_path)
    assert loss == 0
    assert not any(p.grad.any() for p in objective.parameters() if p.grad is not None)


def test_distill_is_the_distance_to_the_first_velocity_that_read_the_plan(
    sources: TinySources, tmp_path: Path
):
    """The plan is longer than the prompts, so its rows are packed otherwise."""
    plan = "a red circle in the top left, a blue square in the bottom right, a green star"
    loss, objective, (batch,) = distilled(sources, tmp_path, drawn_from=plan)
    assert isinstance(batch, PreferenceBatch)
    drawings = batch.drawings
    assert drawings is not None
    assert batch.old is None
    collate = make_collator(objective.model)
    distances = []
    for index, seed in enumerate(drawings.seeds):
        sample = GenerationSample(
            prompt=plan, pixel_values=None, latent=drawings.latents[index], reward=1.0, seed=seed
        )
        with torch.no_grad():
            taught = objective(collate([sample]))["velocity"]
        assert batch.reference is not None
        torch.testing.assert_close(batch.reference[index], taught[0], atol=1e-5, rtol=1e-5)
        unplanned = objective(replace(batch_of(batch), drawings=drawings))["velocity"][index]
        distances.append((unplanned - taught[0]).square().mean())
    assert loss == pytest.approx(float(torch.stack(distances).mean().detach()), rel=1e-4)
    assert loss > 0


def batch_of(batch: PreferenceBatch) -> TrainBatch:
    """The batch before it was compared."""
    return TrainBatch(**{each.name: getattr(batch, each.name) for each in fields(TrainBatch)})


def test_a_policy_computes_without_dropout_and_leaves_weights_and_modes_as_they_were():
    objective = preference_objective(PreferenceConfig(**SETTINGS))
    objective.begin()
    objective.model.llm.train()
    modes = [module.training for module in objective.modules()]
    trained = {n: p for n, p in objective.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(1.0)
    live = {name: parameter.clone() for name, parameter in trained.items()}
    with objective.policy(objective.reference):
        assert not any(module.training for module in objective.modules())
        for name, parameter in trained.items():
            assert torch.equal(parameter, objective.reference.shadow[name])
            assert not torch.equal(parameter, live[name])
    assert [module.training for module in objective.modules()] == modes
    assert all(torch.equal(parameter, live[name]) for name, parameter in trained.items())
    objective.preference = PreferenceConfig(**SETTINGS, old_decay=(0.25, 0.0, 0.5))
    objective.follow(0)
    for name, kept in objective.kept().items():
        moved = kept - objective.reference.shadow[name.removeprefix("old.")]
        torch.testing.assert_close(moved, torch.full_like(moved, 0.75), atol=1e-6, rtol=0)


def test_batches_of_the_mixture_have_the_losses_they_always_have(sources: TinySources):
    batch = make_collator(run_model())(draw(sources, "understanding", "generation"))
    objective = preference_objective(PreferenceConfig(**SETTINGS))
    config = ObjectiveConfig(alignment="none", drop_prompt=0.0)
    plain = JanusFlowObjective(run_model(), config, vae=run_vae())
    assert {n: v.item() for n, v in objective(batch).items()} == {
        n: v.item() for n, v in plain(batch).items()
    }
    counts = objective.loss_counts(batch)
    assert counts == plain.loss_counts(batch) | {"nft": 0, "kl": 0}
