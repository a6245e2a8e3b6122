"""What JanusFlow minimises: which losses appear, what a hidden prompt is, what a step moves."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_run import TinySources, draw, make_collator, run_model, run_processor
from torch import Tensor
from torch.nn.functional import cross_entropy

from janusflow.config.training import ObjectiveConfig
from janusflow.data.batches.collate import IGNORE_INDEX, NO_PROMPT_SEGMENT, Drawings, TrainBatch
from janusflow.data.samples import GenerationSample
from janusflow.flow.path import point_on_path
from janusflow.inference.drawing.prompts import encode_texts
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.row_reading import Reading
from janusflow.model.rows import PAD_SEGMENT, Rows, flat_positions
from janusflow.training.engine.loop import accumulate_gradients
from janusflow.training.objectives.janusflow import JanusFlowObjective, drop_prompts

ALL_KINDS = ("understanding", "generation", "text", "generation")


@pytest.fixture(scope="module")
def model() -> JanusFlowForConditionalGeneration:
    return run_model()


def make_batch(
    sources: TinySources, model: JanusFlowForConditionalGeneration, *kinds: str
) -> TrainBatch:
    return make_collator(model)(draw(sources, *kinds))


def losses(
    model: JanusFlowForConditionalGeneration, batch: TrainBatch, **settings: Any
) -> dict[str, float]:
    objective = JanusFlowObjective(model, ObjectiveConfig(**settings))
    with torch.no_grad():
        found = objective(batch)
    counts = {name: count for name, count in objective.loss_counts(batch).items() if count}
    return {name: loss.item() / counts[name] for name, loss in found.items() if name in counts}


class Watched:
    """Stands in for the model's `read_rows`: remembers what it was asked, answers zeros."""

    def __init__(self) -> None:
        self.x_t: list[Tensor] = []
        self.t: list[Tensor] = []
        self.rows: list[Rows] = []

    def __call__(self, rows: Rows, *, x_t: Tensor, t: Tensor, **_: Any) -> Reading:
        self.x_t.append(x_t)
        self.t.append(t)
        self.rows.append(rows)
        return Reading(torch.zeros(0, 600), torch.zeros_like(x_t), None)


def drawings_of(batch: TrainBatch) -> Drawings:
    assert batch.drawings is not None
    return batch.drawings


def watch(
    sources: TinySources, monkeypatch: pytest.MonkeyPatch, *, num_steps: int, num_images: int
) -> tuple[Watched, TrainBatch]:
    model, watched = run_model(), Watched()
    monkeypatch.setattr(model, "read_rows", watched)
    batch = make_batch(sources, model, *["generation"] * num_images)
    objective = JanusFlowObjective(model, ObjectiveConfig())
    for step in range(num_steps):
        seeds = tuple(range(num_images * step, num_images * (step + 1)))
        objective(replace(batch, drawings=replace(drawings_of(batch), seeds=seeds)))
    return watched, batch


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (("text",), {"ce_text"}),
        (("understanding",), {"ce_answer"}),
        (("generation",), {"flow_mse", "repa"}),
        (ALL_KINDS, {"ce_answer", "ce_text", "flow_mse", "repa"}),
    ],
)
def test_a_loss_appears_if_its_kind_is_in_the_batch(
    sources: TinySources,
    model: JanusFlowForConditionalGeneration,
    kinds: tuple[str, ...],
    names: set[str],
):
    assert set(losses(model, make_batch(sources, model, *kinds))) == names


def test_weights_multiply_their_losses(
    sources: TinySources, model: JanusFlowForConditionalGeneration
):
    batch = make_batch(sources, model, *ALL_KINDS)
    plain = losses(model, batch)
    weighted = losses(model, batch, text_weight=2.0, flow_weight=3.0, alignment_weight=0.5)
    factors = {"ce_answer": 2.0, "ce_text": 2.0, "flow_mse": 3.0, "repa": 0.5}
    expected = {name: factors[name] * loss for name, loss in plain.items()}
    assert weighted == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("settings", [{"alignment_weight": 0.0}, {"alignment": "none"}])
def test_without_alignment_the_repa_head_and_the_tower_do_not_run(
    sources: TinySources, settings: dict[str, Any]
):
    model = run_model()
    batch = make_batch(sources, model, "generation")

    def must_not_run(*_: Any) -> None:
        raise AssertionError("ran")

    assert model.repa_head is not None
    model.repa_head.register_forward_pre_hook(must_not_run)
    model.understanding_encoder.register_forward_pre_hook(must_not_run)
    assert set(losses(model, batch, **settings)) == {"flow_mse"}
    with pytest.raises(AssertionError, match="ran"):
        losses(model, batch)


def test_a_model_without_repa_head_trains_without_alignment(sources: TinySources):
    model = run_model(has_repa=False)
    batch = make_batch(sources, model, *ALL_KINDS)
    assert set(losses(model, batch, alignment="none")) == {"ce_answer", "ce_text", "flow_mse"}


@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        ({"text_weight": 2.0}, {"ce_answer", "ce_text"}),
        ({"flow_weight": 2.0}, {"flow_mse"}),
        ({"alignment_weight": 2.0}, {"repa"}),
        ({"drop_prompt": 1.0}, {"flow_mse", "repa"}),
        ({"time_mean": 2.0}, {"flow_mse", "repa"}),
        ({"time_std": 0.1}, {"flow_mse", "repa"}),
        ({"alignment": "none"}, {"repa"}),
        ({"alignment": "contrastive"}, {"repa", "contrastive"}),
    ],
)
def test_every_option_changes_its_losses_and_no_other(
    sources: TinySources,
    model: JanusFlowForConditionalGeneration,
    settings: dict[str, Any],
    moves: set[str],
):
    """Those of the scorer are in test_scoring.py."""
    batch = make_batch(sources, model, *ALL_KINDS)
    before, after = losses(model, batch), losses(model, batch, **settings)
    names = before.keys() | after.keys()
    assert {name for name in names if before.get(name) != after.get(name)} == moves


def test_a_lower_temperature_sharpens_the_contrastive_loss(
    sources: TinySources, model: JanusFlowForConditionalGeneration
):
    """At a high one nothing is told apart: the log of 16 patches."""
    batch = make_batch(sources, model, "generation")
    blurred = losses(model, batch, alignment="contrastive", temperature=1e4)["contrastive"]
    assert blurred == pytest.approx(math.log(16), rel=1e-3)
    assert losses(model, batch, alignment="contrastive")["contrastive"] != blurred


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_answers_and_texts_are_one_mean_to_the_gradient_and_two_to_the_reader(
    sources: TinySources, model: JanusFlowForConditionalGeneration, weight: float
):
    """The gradient is that of transformers' own loss: a mean over all learnt tokens."""
    batch = make_batch(sources, model, "understanding", "text", "text")
    is_learnt = batch.labels != IGNORE_INDEX
    objective = JanusFlowObjective(model, ObjectiveConfig(text_weight=weight))
    model.zero_grad()
    reported, _ = accumulate_gradients(objective, [batch])
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    logits = model.read_rows(
        batch.rows, learnt_positions=flat_positions(is_learnt), pixel_values=batch.pixel_values
    ).logits
    every = weight * cross_entropy(logits, batch.labels[is_learnt], reduction="none")
    every.mean().backward()
    for name, gradient in found.items():
        wanted = model.get_parameter(name).grad
        wanted = torch.zeros_like(gradient) if wanted is None else wanted
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=0, msg=name)
    model.zero_grad()
    is_text = batch.is_text[is_learnt]
    num_text = int(is_text.sum())
    assert 0 < num_text < len(every)
    assert reported["ce_text"].item() == pytest.approx(every[is_text].mean().item(), rel=1e-5)
    assert reported["ce_answer"].item() == pytest.approx(every[~is_text].mean().item(), rel=1e-5)


def test_question_tokens_are_read_but_not_learnt(
    sources: TinySources, model: JanusFlowForConditionalGeneration
):
    batch = make_batch(sources, model, "understanding")
    token_ids = batch.rows.token_ids[0]
    (learnt,) = (batch.labels[0] != IGNORE_INDEX).nonzero(as_tuple=True)
    decoded = run_processor().tokenizer.decode(token_ids[learnt])
    # Every learnt run of tokens follows "Assistant:" and ends with the end token.
    assert "User" not in decoded
    assert "Assistant" not in decoded
    firsts = [i for i in learnt.tolist() if i - 1 not in learnt.tolist()]
    asked = [run_processor().tokenizer.decode(token_ids[i - 2 : i]) for i in firsts]
    assert asked
    assert all(text.endswith("Assistant:"[-len(text) :]) for text in asked)


def test_a_hidden_prompt_is_what_inferences_unconditional_branch_reads(
    sources: TinySources, model: JanusFlowForConditionalGeneration
):
    samples = draw(sources, "generation", "generation")
    batch = make_collator(model)(samples)
    prompts = [s.prompt for s in samples if isinstance(s, GenerationSample)]
    read = encode_texts(model, run_processor(), prompts, is_guided=True)
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.6])

    def trained(*is_dropped: bool) -> Tensor:
        rows = drop_prompts(batch.rows, drawings_of(batch).prompt_of, torch.tensor(is_dropped))
        learnt = batch.learnt_positions
        velocity = model.read_rows(rows, learnt_positions=learnt, x_t=x_t, t=t).velocity
        assert velocity is not None
        return velocity

    with torch.no_grad():
        drawn = model.velocity(
            torch.cat([x_t, x_t]),
            torch.cat([t, t]),
            read.cache,
        )
        conditional, unconditional = drawn.chunk(2)
        assert (conditional - unconditional).abs().max() > 1e-4
        expected = torch.stack([unconditional[0], conditional[1]])
        torch.testing.assert_close(trained(True, False), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(trained(True, True), unconditional, atol=1e-5, rtol=0)


def test_one_prompt_in_ten_is_hidden(sources: TinySources, monkeypatch: pytest.MonkeyPatch):
    """3000 images: standard error 0.0055."""
    watched, batch = watch(sources, monkeypatch, num_steps=300, num_images=10)
    prompt_of = drawings_of(batch).prompt_of
    num_hidden = 0
    for rows in watched.rows:
        is_hidden = rows.segment_ids != batch.rows.segment_ids
        assert (rows.segment_ids[is_hidden] == PAD_SEGMENT).all()
        hidden = [image for image in range(10) if is_hidden[prompt_of == image].any()]
        assert all(is_hidden[prompt_of == image].all() for image in hidden)
        assert not is_hidden[prompt_of == NO_PROMPT_SEGMENT].any()
        num_hidden += len(hidden)
    assert num_hidden / 3000 == pytest.approx(0.1, abs=0.02)


def test_times_are_logit_normal_and_points_lie_on_the_path(
    sources: TinySources, monkeypatch: pytest.MonkeyPatch
):
    """x_t = t data + (1 - t) noise: what is left of x_t without data is normal noise."""
    watched, batch = watch(sources, monkeypatch, num_steps=200, num_images=10)
    t = torch.stack(watched.t)
    logit = torch.log(t / (1 - t))
    assert logit.mean().item() == pytest.approx(0, abs=0.1)
    assert logit.std().item() == pytest.approx(1, abs=0.1)
    scale = t[:, :, None, None, None]
    noise = (torch.stack(watched.x_t) - scale * drawings_of(batch).latents) / (1 - scale)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.01)


def test_the_flow_loss_is_of_data_minus_noise(
    sources: TinySources, monkeypatch: pytest.MonkeyPatch
):
    """A model that predicts the true velocity of the point it is given has no loss."""
    model = run_model()
    batch = make_batch(sources, model, "generation", "generation")
    data = drawings_of(batch).latents

    def truth(rows: Rows, *, x_t: Tensor, t: Tensor, **_: Any) -> Reading:
        scale = t[:, None, None, None]
        noise = (x_t - scale * data) / (1 - scale)
        velocity = point_on_path(data=data, noise=noise, t=t).velocity
        return Reading(torch.zeros(0, 600), velocity, None)

    monkeypatch.setattr(model, "read_rows", truth)
    assert losses(model, batch)["flow_mse"] == pytest.approx(0, abs=1e-6)


def test_losses_depend_on_the_samples_seeds_and_on_no_other_randomness(
    sources: TinySources, model: JanusFlowForConditionalGeneration
):
    batch = make_batch(sources, model, *ALL_KINDS)
    first = losses(model, batch)
    torch.manual_seed(1234)
    assert losses(model, batch) == first
    other = replace(batch, drawings=replace(drawings_of(batch), seeds=(1, 2)))
    assert losses(model, other)["flow_mse"] != first["flow_mse"]


def test_all_losses_fall_when_one_small_batch_is_learnt_by_heart(sources: TinySources):
    model = run_model()
    batch = make_batch(sources, model, "understanding", "generation")
    objective = JanusFlowObjective(model, ObjectiveConfig(drop_prompt=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = losses(model, batch, drop_prompt=0.0)
    counts = objective.loss_counts(batch)
    for _ in range(30):
        optimizer.zero_grad()
        found = objective(batch)
        sum(found[name] / count for name, count in counts.items() if count).backward()
        optimizer.step()
    after = losses(model, batch, drop_prompt=0.0)
    assert after["ce_answer"] < 0.5 * before["ce_answer"]
    assert after["flow_mse"] < 0.8 * before["flow_mse"]
    assert after["repa"] < -0.8 < before["repa"]
