"""An explanation tells of the drawing itself, and each of its numbers is what it is said to be."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import qwen3_model, tiny_janusflow, tiny_model, tiny_processor, tiny_vae
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.flow import StepInfo, VelocityQuery, run_sampler, solve
from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.drawing.explanation import (
    MOST_STEPS,
    Explanation,
    Observation,
    Observer,
    attention_weights,
    explain,
    token_words,
)
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.loading import load
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration

PROMPT = "a red circle"
STEPS = 3
SETTINGS = DrawingSettings(steps=STEPS, guidance=3.0)


def with_repa_head(make: Callable[[], JanusFlowForConditionalGeneration], block: int) -> JanusFlow:
    model = make()
    torch.manual_seed(2)
    model.add_repa_head({"block": block, "hidden_size": 8})
    return JanusFlow(model=model, processor=tiny_processor(), vae=tiny_vae(), name="tiny")


@pytest.fixture(scope="module")
def aligned() -> JanusFlow:
    """The tiny model with a REPA head after its first block."""
    return with_repa_head(tiny_model, 1)


@pytest.fixture(scope="module")
def explanation(aligned: JanusFlow) -> Explanation:
    return explain(aligned, PROMPT, seed=5, settings=SETTINGS)


def step_at(t: float, x_t: Tensor, velocity: Tensor, jf: JanusFlow) -> DrawingStep:
    """A solver's step from there to the end of the path."""
    steps = list[StepInfo]()
    run_sampler(solve(x_t, times=torch.tensor([t, 1.0]), on_step=steps.append), lambda _: velocity)
    return DrawingStep(first_image=0, info=steps[0], vae=jf.vae)


@torch.no_grad()
def read_whole(jf: JanusFlow, text: str, x_t: Tensor, t: float) -> Any:
    """Prompt and image in one pass of an eager copy of the LLM, by transformers' own options."""
    model = copy.deepcopy(jf.model)
    model.llm.set_attn_implementation("eager")
    encoded = model.generation_encoder(x_t, torch.tensor([t]))
    prefix = model.llm.get_input_embeddings()(jf.processor.prompts([text])["input_ids"])
    return model.llm.base_model(
        inputs_embeds=torch.cat([prefix, model._image_tokens(encoded)], dim=1),
        output_attentions=True,
        output_hidden_states=True,
    )


# ---- the drawing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{}, {"guidance": "3@0.3-0.6", "solver": "heun"}, {"guidance": 1.0, "reuse": 0.3}],
    ids=["guided", "schedule", "reuse"],
)
def test_the_images_are_those_that_generate_draws_from_the_seed(
    aligned: JanusFlow, more: dict[str, Any]
):
    settings = replace(SETTINGS, **more)
    told = explain(aligned, PROMPT, negative_prompt="a star", seed=5, settings=settings)
    asked: dict[str, Any] = {"guidance": SETTINGS.guidance} | more
    for image, weight in (
        (told.image, asked["guidance"]),
        (told.unguided, 1.0),
        (told.without_prompt, 0.0),
    ):
        own: dict[str, Any] = asked | {"guidance": weight}
        (drawn,) = aligned.generate(PROMPT, seed=5, negative_prompt="a star", steps=STEPS, **own)
        assert image.tobytes() == drawn.tobytes()
    assert [each.step.index for each in told.observations] == list(range(STEPS))
    assert told.without_prompt.tobytes() != told.unguided.tobytes()


def test_what_was_planned_is_explained(aligned: JanusFlow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aligned.model.config, "plans", True)
    monkeypatch.setattr(aligned, "plan", lambda prompts, seeds: ["a red circle on the left"])
    told = explain(aligned, PROMPT, seed=5, settings=SETTINGS)
    assert told.words == ["a", "red", "circle", "on", "the", "left"]
    (unguided,) = aligned.generate(
        "a red circle on the left", seed=5, steps=STEPS, guidance=1.0, plan="never"
    )
    assert told.unguided.tobytes() == unguided.tobytes()


def test_a_look_costs_two_evaluations_of_one_row(jf: JanusFlow, llm_count: Any):
    told = explain(jf, PROMPT, seed=5, settings=SETTINGS)
    prompt = len(jf.processor.prompts([PROMPT])["input_ids"][0])
    image = 1 + jf.model.config.generation.num_tokens
    readings = 2 * prompt + prompt + 2 * prompt + 2 * prompt
    drawn = STEPS * (2 + 1 + 2) * image
    looked = STEPS * (image + prompt + image)
    assert (llm_count.calls, llm_count.positions) == (4 + 5 * STEPS, readings + drawn + looked)
    assert told.alignment is None


@pytest.mark.parametrize(
    "settings",
    [{"steps": MOST_STEPS + 1}, {"solver": "dopri5"}, {"best_of": 2}, {"upscale": "lanczos:2"}],
    ids=lambda settings: next(iter(settings)),
)
def test_what_cannot_be_explained_is_refused_before_any_work(
    jf: JanusFlow, llm_count: Any, settings: dict[str, Any]
):
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"{name}=.* to be explained: use ") as refusal:
        explain(jf, PROMPT, settings=DrawingSettings(**settings))
    assert "\n" not in str(refusal.value)
    assert llm_count.calls == 0


# ---- velocities -------------------------------------------------------------------------------


def test_both_velocities_are_those_of_a_batch_of_one(aligned: JanusFlow, explanation: Explanation):
    prompts = encode_texts(aligned.model, aligned.processor, [PROMPT], is_guided=True)
    velocity = PromptVelocity(aligned.model, prompts, [[PROMPT]])
    for each in explanation.observations:
        info = each.step.info
        with torch.no_grad():
            both = velocity(VelocityQuery(info.x_t, info.t, (0, 1)))
        torch.testing.assert_close(torch.cat([each.conditional, each.unconditional]), both)
        guided = 3.0 * each.conditional - 2.0 * each.unconditional
        torch.testing.assert_close(info.velocity, guided, atol=1e-5, rtol=1e-4)


def test_predicted_data_lies_straight_on_in_the_time_that_is_left(explanation: Explanation):
    for each in explanation.observations:
        info = each.step.info
        ends = info.x_t + (1 - info.t) * torch.cat([each.conditional, each.unconditional])
        torch.testing.assert_close(each.predicted_data, ends)
        assert len(each.previews) == 2
    last = explanation.observations[-1]
    assert last.step.preview[0].tobytes() == explanation.image.tobytes()


def flat_explanation(
    jf: JanusFlow, points: list[tuple[float, float]], **fields: Any
) -> Explanation:
    """A path through points of a plane, evenly in time, that ends at (1, 0)."""
    image = Image.new("RGB", (1, 1))
    ends = torch.tensor([*points[1:], (1.0, 0.0)])
    observations = [
        Observation(
            step=step_at(
                index / len(points),
                torch.tensor(point).view(1, 1, 1, 2),
                (len(points) * (end - torch.tensor(point))).view(1, 1, 1, 2),
                jf,
            ),
            conditional=torch.full((1, 1, 1, 2), 3.0),
            unconditional=torch.tensor([3.0, -4.0]).view(1, 1, 1, 2),
            attention_to_words=torch.zeros(4, 1),
            attention_to_image=torch.zeros(4),
            features=None,
        )
        for index, (point, end) in enumerate(zip(points, ends, strict=True))
    ]
    return Explanation(
        image=image,
        unguided=image,
        without_prompt=image,
        words=["a"],
        observations=observations,
        tower_features=torch.eye(4),
    )


def test_speeds_are_root_mean_squares_and_guidance_is_what_it_adds(jf: JanusFlow):
    told = flat_explanation(jf, [(0.0, 0.0), (0.5, 0.0)])
    # Walked at (1, 0), with the prompt (3, 3), without it (3, -4).
    assert told.speeds.tolist() == [pytest.approx([0.5**0.5, 3.0, 12.5**0.5])] * 2
    assert told.guidance_size.tolist() == pytest.approx([6.5**0.5] * 2)


def test_deviation_is_the_distance_from_the_straight_line(jf: JanusFlow):
    assert flat_explanation(jf, [(0.0, 0.0), (0.5, 0.0)]).deviation.tolist() == [0.0, 0.0]
    bent = flat_explanation(jf, [(-1.0, 0.0), (0.0, 0.5), (0.5, -0.25)])
    assert bent.deviation.tolist() == pytest.approx([0.0, 0.25, 0.125])


# ---- attention and REPA -----------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("make", [tiny_model, qwen3_model], ids=["llama", "qwen3"])
def test_attention_and_features_are_those_of_the_repa_block(
    make: Callable[[], JanusFlowForConditionalGeneration], block: int
):
    jf = with_repa_head(make, block)
    x_t, t, text = torch.randn(1, 4, 8, 8), 0.25, "빨간 원"
    seen = Observer(jf, text).observe(step_at(t, x_t, x_t, jf))
    whole = read_whole(jf, text, x_t, t)
    weights = whole.attentions[block - 1].mean(1)[0, -16:]
    belongs = token_words(jf.processor, text)
    num_prompt = len(belongs)
    torch.testing.assert_close(seen.attention_to_words, weights[:, :num_prompt] @ belongs)
    torch.testing.assert_close(seen.attention_to_image, weights[:, num_prompt:].sum(1))
    template = weights[:, :num_prompt][:, belongs.sum(1) == 0].sum(1)
    shares = seen.attention_to_words.sum(1) + seen.attention_to_image
    torch.testing.assert_close(shares + template, torch.ones(16))
    assert (shares < 1).all()
    assert jf.model.repa_head is not None
    hidden = whole.last_hidden_state if block == 2 else whole.hidden_states[block]
    torch.testing.assert_close(seen.features, jf.model.repa_head(hidden[0, -16:]).detach())


def test_the_negative_prompt_is_what_the_other_branch_reads(jf: JanusFlow):
    x_t = torch.randn(1, 4, 8, 8)
    step = step_at(0.5, x_t, x_t, jf)
    negative = Observer(jf, PROMPT, negative_prompt="a star").observe(step)
    star, plain = Observer(jf, "a star").observe(step), Observer(jf, PROMPT).observe(step)
    torch.testing.assert_close(negative.unconditional, star.conditional)
    torch.testing.assert_close(negative.conditional, plain.conditional)


def test_words_are_made_of_their_tokens_in_every_script(jf: JanusFlow):
    text = " a  red,빨간 원 红圆 "
    belongs = token_words(jf.processor, text)
    tokens = len(jf.processor.prompts([text])["input_ids"][0])
    assert Observer(jf, text).words == ["a", "red,빨간", "원", "红", "圆"]
    # A byte a token here, the space before a word apart.
    assert belongs.shape == (tokens, 5)
    assert belongs.sum(0).tolist() == [1, 10, 3, 3, 3]
    assert belongs.sum(1).max() == 1
    assert token_words(jf.processor, " ").shape[1] == 0


def test_features_that_are_guessed_exactly_have_cosine_1(jf: JanusFlow):
    told = flat_explanation(jf, [(0.0, 0.0)])
    guesses = (2 * torch.eye(4), torch.eye(4).roll(1, 0), torch.eye(4) + torch.eye(4).roll(1, 0))
    observations = [replace(told.observations[0], features=guess) for guess in guesses]
    alignment = replace(told, observations=observations).alignment
    assert alignment is not None
    torch.testing.assert_close(alignment, torch.tensor([1.0, 0.0, 0.5**0.5])[:, None].expand(3, 4))


def test_the_tower_looks_at_the_image_as_if_it_were_asked_about(jf: JanusFlow):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8"))
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What?"}]
    inputs = jf.prepare_inputs([[{"role": "user", "content": content}]], allow_paths=False)
    with torch.no_grad():
        wanted = jf.model.understanding_features(inputs["pixel_values"])[0]
    assert torch.equal(Observer(jf, PROMPT).tower_features(image), wanted)


# ---- the model --------------------------------------------------------------------------------


def test_a_look_leaves_the_model_as_it_was_even_if_it_fails(jf: JanusFlow):
    llm, x_t = jf.model.llm, torch.randn(1, 4, 8, 8)
    attention = llm.base_model.layers[1].self_attn
    before = llm.config._attn_implementation, len(attention._forward_hooks)
    Observer(jf, PROMPT).observe(step_at(0.5, x_t, x_t, jf))
    with pytest.raises(ZeroDivisionError), attention_weights(jf.model):
        raise ZeroDivisionError(llm.config._attn_implementation)
    assert (llm.config._attn_implementation, len(attention._forward_hooks)) == before
    assert before[0] == "sdpa"


@pytest.mark.slow
def test_a_compiled_model_tells_its_attention_too():
    jf, graphs = tiny_janusflow(), list[Any]()
    steps = [step_at(t, x_t := torch.randn(1, 4, 8, 8), x_t, jf) for t in (0.2, 0.5)]
    plain = Observer(jf, PROMPT)
    wanted = [plain.observe(step).attention_to_words for step in steps]

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    jf.model.llm.base_model.compile(backend=backend)
    compiled = Observer(jf, PROMPT)
    for step, attention in zip(steps, wanted, strict=True):
        torch.testing.assert_close(compiled.observe(step).attention_to_words, attention)
    assert graphs


def test_blocks_without_attention_are_refused():
    jf = tiny_janusflow()
    block = jf.model.llm.base_model.layers[1]
    block.mixer = block.self_attn
    del block.self_attn
    refused = pytest.raises(ConfigError, match="block 2 of the llama has no self_attn")
    with refused, attention_weights(jf.model):
        pass


@pytest.mark.slow
def test_mini_looks_from_where_a_shape_comes_to_be_at_the_word_for_it():
    """Of the words for shapes, the patches of a shape attend most to its own, in two languages."""
    mini = load("mini", device="cpu")
    for text, (circle, square) in (
        ("a red circle in the top left, a blue square on the right", ("circle", "square")),
        ("빨간 원 왼쪽에 파란 사각형", ("원", "사각형")),
    ):
        told = explain(mini, text, seed=2, settings=DrawingSettings(steps=10, plan="never"))
        attention = torch.stack([each.attention_to_words for each in told.observations]).mean(0)
        red, _, blue = np.asarray(told.image.resize((8, 8), Image.Resampling.BOX)).T.astype(int)
        to_circle, to_square = (
            attention[:, told.words.index(word)].view(8, 8).T.numpy() for word in (circle, square)
        )
        assert (to_circle > to_square)[red > blue + 100].all()
        assert (to_square > to_circle)[blue > red + 100].all()
        alignment = told.alignment
        assert alignment is not None
        assert alignment[-1].mean() > max(alignment[0].mean(), 0.9)
