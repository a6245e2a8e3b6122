"""Drawing latents: prompts are read once, guidance and originals do what they say."""

from typing import Any

import pytest
import torch
from tiny_model import padded_prompt
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.flow import SOLVERS, sample_noise, solve, with_guidance
from janusflow.inference.drawing.sampling import (
    DrawingSettings,
    InitImage,
    draw_latents,
    encode_prompts,
    times_from,
    velocity_of_images,
)
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, unconditional

LATENT = (4, 8, 8)
NUM_IMAGE_TOKENS = 16
ROWS = [[0, 20, 21, 22, 23], [0, 30, 31]]


def draw(
    model: JanusFlowForConditionalGeneration,
    rows: list[list[int]],
    *,
    seeds: list[int],
    settings: DrawingSettings,
    negative: Prompt | None = None,
    prompts: list[int] | None = None,
) -> Tensor:
    """Draw one latent a seed; `prompts` says which row each one reads."""
    read = encode_prompts(
        model,
        padded_prompt(rows, pad_token_id=2),
        negative=negative,
        is_guided=settings.is_guided,
    )
    velocity = velocity_of_images(model, read, prompts or list(range(len(rows))), settings=settings)
    return draw_latents(velocity, sample_noise(LATENT, seeds=seeds), settings=settings)


def test_every_prompt_is_read_once_however_many_steps_and_images(
    model: JanusFlowForConditionalGeneration, llm_count: Any
):
    settings = DrawingSettings(steps=5)
    draw(model, ROWS, seeds=[1, 2, 3], settings=settings, prompts=[0, 1, 1])
    prompts_read = 2 * 2 * 5  # two prompts and their unconditional rows, five tokens each
    a_step = 2 * 3 * (1 + NUM_IMAGE_TOKENS)  # both branches of three images, time token each
    assert llm_count.positions == prompts_read + 5 * a_step
    assert llm_count.calls == 1 + 5


def test_guidance_one_runs_no_unconditional_branch(
    model: JanusFlowForConditionalGeneration, llm_count: Any
):
    draw(model, ROWS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=1.0))
    assert llm_count.positions == 2 * 5 + 3 * 2 * (1 + NUM_IMAGE_TOKENS)


def test_guidance_one_is_no_guidance(model: JanusFlowForConditionalGeneration):
    """Almost 1 runs both branches; the result must tend to the one without."""
    without = draw(model, ROWS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=1.0))
    almost = draw(model, ROWS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=1 + 1e-7))
    strong = draw(model, ROWS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=5.0))
    torch.testing.assert_close(without, almost, atol=1e-5, rtol=0)
    assert (without - strong).abs().max() > 1e-2


def test_guidance_in_an_interval_costs_its_own_steps_only(
    model: JanusFlowForConditionalGeneration, llm_count: Any
):
    settings = DrawingSettings(steps=10, guidance="3@0.2-0.5")
    draw(model, ROWS, seeds=[1, 2], settings=settings)
    a_branch = 2 * (1 + NUM_IMAGE_TOKENS)
    assert llm_count.positions == 2 * 2 * 5 + 10 * a_branch + 3 * a_branch


def test_the_unguided_steps_of_a_schedule_are_those_without_guidance(
    model: JanusFlowForConditionalGeneration,
):
    def drawn(guidance: float | str) -> Tensor:
        settings = DrawingSettings(steps=4, guidance=guidance)
        return draw(model, ROWS, seeds=[1, 2], settings=settings)

    assert torch.equal(drawn("3@0-1"), drawn(3.0))
    # No step of four falls into it; the prompts are read in a larger batch.
    torch.testing.assert_close(drawn("3@0.1-0.2"), drawn(1.0), atol=1e-5, rtol=0)
    assert (drawn("3@0.4-0.6") - drawn(1.0)).abs().max() > 1e-2


def test_a_foretold_velocity_is_not_evaluated(
    model: JanusFlowForConditionalGeneration, llm_count: Any
):
    """Whatever is foretold is good enough here: steps 3, 5, 7 and 9 of ten are left out."""
    draw(model, ROWS, seeds=[1, 2], settings=DrawingSettings(steps=10, reuse=1.0))
    assert llm_count.positions == 2 * 2 * 5 + 6 * 2 * 2 * (1 + NUM_IMAGE_TOKENS)


@pytest.mark.parametrize("numerics", ["accurate", "parity"])
def test_settings_that_steer_nothing_leave_every_bit_as_it_was(
    model: JanusFlowForConditionalGeneration, numerics: str
):
    """Solved by hand with the one scale, against the defaults."""
    settings = DrawingSettings(steps=3, numerics=numerics)
    read = encode_prompts(model, padded_prompt(ROWS, pad_token_id=2), negative=None, is_guided=True)
    cache = read.select([0, 1])
    with torch.no_grad():
        by_hand = solve(
            with_guidance(lambda x, t: model.velocity(x, t, cache).to(x.dtype), scale=2.0),
            sample_noise(LATENT, seeds=[1, 2]),
            times=torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]),
            state_dtype=torch.bfloat16 if numerics == "parity" else torch.float32,
        )
    assert torch.equal(draw(model, ROWS, seeds=[1, 2], settings=settings), by_hand.float())


@pytest.mark.parametrize(
    "settings",
    [
        DrawingSettings(steps=3, guidance=3.0),
        DrawingSettings(steps=4, guidance="3@0.2-0.7+1..2@0.7-1", guidance_rescale=0.7),
        DrawingSettings(steps=8, reuse=0.5),
    ],
)
def test_a_image_does_not_depend_on_its_neighbours(
    model: JanusFlowForConditionalGeneration, settings: DrawingSettings
):
    together = draw(model, ROWS, seeds=[1, 2], settings=settings)
    alone = [
        draw(model, [row], seeds=[seed], settings=settings)
        for row, seed in zip(ROWS, [1, 2], strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_cached_drawing_equals_the_formula_without_cache(model: JanusFlowForConditionalGeneration):
    """One Euler step by hand: noise + w v(prompt) - (w - 1) v(nothing), prompts read in full."""
    noise = sample_noise(LATENT, seeds=[4, 5])
    prompt, t = padded_prompt(ROWS, pad_token_id=2), torch.zeros(2)
    with torch.no_grad():
        conditional = model.velocity(noise, t, prompt)
        nothing = model.velocity(noise, t, unconditional(prompt))
    drawn = draw(model, ROWS, seeds=[4, 5], settings=DrawingSettings(steps=1, guidance=2.5))
    torch.testing.assert_close(drawn, noise + 2.5 * conditional - 1.5 * nothing, atol=1e-5, rtol=0)


def test_the_unconditional_branch_reads_the_negative_prompt(
    model: JanusFlowForConditionalGeneration,
):
    """With the prompt itself as negative, both branches agree and guidance changes nothing."""
    own = padded_prompt([ROWS[0]], pad_token_id=2)
    other = padded_prompt([ROWS[1]], pad_token_id=2)
    plain = draw(model, ROWS[:1], seeds=[1], settings=DrawingSettings(steps=2, guidance=1.0))
    guided = DrawingSettings(steps=2, guidance=6.0)
    same = draw(model, ROWS[:1], seeds=[1], settings=guided, negative=own)
    different = draw(model, ROWS[:1], seeds=[1], settings=guided, negative=other)
    torch.testing.assert_close(same, plain, atol=1e-4, rtol=0)
    assert (different - plain).abs().max() > 1e-2


@pytest.mark.parametrize("solver", SOLVERS)
def test_outside_the_mask_every_solver_ends_on_the_original(solver: str):
    data, noise = torch.randn(2, *LATENT), torch.randn(2, *LATENT)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    drawn = draw_latents(
        lambda x_t, t: torch.sin(3 * x_t),
        noise,
        settings=DrawingSettings(steps=4, solver=solver),
        original=InitImage(latent=data, strength=0.8, mask=mask),
    )
    torch.testing.assert_close(drawn[..., 4:], data[..., 4:], atol=1e-5, rtol=0)
    assert (drawn[..., :4] - data[..., :4]).abs().mean() > 0.1


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_original_is_noised_to_its_strength_and_walked_to_the_end(solver: str):
    """A constant velocity c must add exactly strength * c to the point the drawing starts at."""
    data, noise = torch.randn(1, *LATENT), torch.randn(1, *LATENT)
    drawn = draw_latents(
        lambda x_t, t: torch.full_like(x_t, 7.0),
        noise,
        settings=DrawingSettings(steps=10, solver=solver),
        original=InitImage(latent=data, strength=0.35),
    )
    torch.testing.assert_close(drawn, 0.65 * data + 0.35 * noise + 0.35 * 7.0)


def test_strength_one_starts_from_noise_alone():
    data, noise = torch.randn(1, *LATENT), torch.randn(1, *LATENT)
    settings = DrawingSettings(steps=3)
    free = draw_latents(lambda x_t, t: x_t, noise, settings=settings)
    from_original = draw_latents(
        lambda x_t, t: x_t, noise, settings=settings, original=InitImage(latent=data, strength=1.0)
    )
    torch.testing.assert_close(free, from_original)


def test_a_weaker_original_takes_fewer_steps_of_the_same_size():
    times = times_from(0.5, DrawingSettings(steps=10))
    torch.testing.assert_close(times, torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]))
    assert times_from(0.95, DrawingSettings(steps=10)).tolist() == pytest.approx([0.95, 1.0])


def test_parity_keeps_the_state_in_bfloat16():
    seen: list[tuple[torch.dtype, float]] = []

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append((x_t.dtype, float(t[0])))
        return torch.ones_like(x_t)

    parity = DrawingSettings(steps=30, numerics="parity")
    drawn = draw_latents(velocity, torch.zeros(1, *LATENT), settings=parity)
    assert {dtype for dtype, _ in seen} == {torch.bfloat16}
    assert seen[29][1] == pytest.approx(0.968)  # NOTES: 966.67 is 968 in bfloat16
    # 30 steps of bfloat16(1/30), added up in bfloat16: not 1, and what the release's sum gives.
    state = torch.zeros((), dtype=torch.bfloat16)
    for _ in range(30):
        state = state + torch.tensor(1 / 30, dtype=torch.bfloat16)
    assert drawn.unique().item() == state.float().item() != 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"solver": "magic"},
        {"shift": 0.0},
        {"numerics": "fast"},
        {"grid": "magic"},
        {"guidance": "3@0.6"},
        {"guidance": float("nan")},
        {"guidance_rescale": 1.5},
        {"reuse": -0.1},
        {"reuse": float("nan")},
        {"reuse": 0.1, "solver": "heun"},
        {"solver": "dopri5", "guidance": "3@0.1-0.6"},
        {"numerics": "parity", "solver": "dopri5"},
        {"numerics": "parity", "guidance": "3@0.1-0.6"},
        {"numerics": "parity", "reuse": 0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        DrawingSettings(**wrong)


@pytest.mark.parametrize("strength", [0.0, 1.5, -1.0])
def test_a_strength_outside_its_range_is_refused(strength: float):
    with pytest.raises(ConfigError, match="strength"):
        InitImage(latent=torch.zeros(1, *LATENT), strength=strength)
