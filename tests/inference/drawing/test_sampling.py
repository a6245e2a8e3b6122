"""Drawing latents: prompts are read once, guidance and originals do what they say."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.config.guidance import schedule_of
from janusflow.flow import (
    SOLVERS,
    VelocityQuery,
    guide,
    run_sampler,
    sample_noise,
    solve,
)
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts, prompt_of
from janusflow.inference.drawing.sampling import DrawingSettings, image_sampler
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.prompt import unconditional

LATENT = (4, 8, 8)
NUM_IMAGE_TOKENS = 16
TEXTS = ["a red circle", "별"]


@torch.no_grad()
def draw(
    jf: JanusFlow,
    texts: list[str],
    *,
    seeds: list[int],
    settings: DrawingSettings,
    negative_prompt: str | None = None,
) -> Tensor:
    """Draw one latent a text and seed."""
    prompts = encode_texts(
        jf.model,
        jf.processor,
        texts,
        is_guided=schedule_of(settings.guidance).is_guided,
        negative_prompt=negative_prompt,
    )
    velocity = PromptVelocity(jf.model, prompts, [[text] for text in texts])
    return run_sampler(image_sampler(sample_noise(LATENT, seeds=seeds), settings), velocity).float()


def draw_with(
    velocity: Any, noise: Tensor, settings: DrawingSettings, init_image: InitImage | None = None
) -> Tensor:
    """Draw latents by a velocity of state and time."""
    sampler = image_sampler(noise, settings, init_image=init_image)
    return run_sampler(
        sampler,
        lambda query: torch.cat([velocity(query.x_t, query.t)] * len(query.branches)),
    )


def length(jf: JanusFlow, *texts: str) -> int:
    """Tokens of the longest text."""
    return prompt_of(jf.model, jf.processor, texts).token_ids.shape[1]


def test_every_prompt_is_read_once_however_many_steps_and_images(jf: JanusFlow, llm_count: Any):
    settings = DrawingSettings(steps=5)
    draw(jf, [*TEXTS, TEXTS[1]], seeds=[1, 2, 3], settings=settings)
    prompts_read = 2 * 2 * length(jf, *TEXTS)  # two prompts and their unconditional rows
    a_step = 2 * 3 * (1 + NUM_IMAGE_TOKENS)  # both branches of three images, time token each
    assert llm_count.positions == prompts_read + 5 * a_step
    assert llm_count.calls == 1 + 5


def test_guidance_one_runs_no_unconditional_branch(jf: JanusFlow, llm_count: Any):
    draw(jf, TEXTS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=1.0))
    assert llm_count.positions == 2 * length(jf, *TEXTS) + 3 * 2 * (1 + NUM_IMAGE_TOKENS)


def test_guidance_one_is_no_guidance(jf: JanusFlow):
    """Almost 1 runs both branches; the result must tend to the one without."""
    without = draw(jf, TEXTS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=1.0))
    almost = draw(jf, TEXTS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=1 + 1e-7))
    strong = draw(jf, TEXTS, seeds=[1, 2], settings=DrawingSettings(steps=3, guidance=5.0))
    torch.testing.assert_close(without, almost, atol=1e-5, rtol=0)
    assert (without - strong).abs().max() > 1e-2


def test_guidance_in_an_interval_costs_its_own_steps_only(jf: JanusFlow, llm_count: Any):
    settings = DrawingSettings(steps=10, guidance="3@0.2-0.5")
    draw(jf, TEXTS, seeds=[1, 2], settings=settings)
    a_branch = 2 * (1 + NUM_IMAGE_TOKENS)
    assert llm_count.positions == 2 * 2 * length(jf, *TEXTS) + 10 * a_branch + 3 * a_branch


def test_the_unguided_steps_of_a_schedule_are_those_without_guidance(
    jf: JanusFlow,
):
    def drawn(guidance: float | str) -> Tensor:
        settings = DrawingSettings(steps=4, guidance=guidance)
        return draw(jf, TEXTS, seeds=[1, 2], settings=settings)

    assert torch.equal(drawn("3@0-1"), drawn(3.0))
    # No step of four falls into it; the prompts are read in a larger batch.
    torch.testing.assert_close(drawn("3@0.1-0.2"), drawn(1.0), atol=1e-5, rtol=0)
    assert (drawn("3@0.4-0.6") - drawn(1.0)).abs().max() > 1e-2


def test_an_extrapolated_velocity_is_not_evaluated(jf: JanusFlow, llm_count: Any):
    """Whatever is extrapolated is good enough here: steps 3, 5, 7 and 9 of ten are left out."""
    draw(jf, TEXTS, seeds=[1, 2], settings=DrawingSettings(steps=10, reuse=1.0))
    assert llm_count.positions == 2 * 2 * length(jf, *TEXTS) + 6 * 2 * 2 * (1 + NUM_IMAGE_TOKENS)


@pytest.mark.parametrize("numerics", ["accurate", "parity"])
def test_settings_that_steer_nothing_leave_every_bit_as_it_was(jf: JanusFlow, numerics: str):
    """Solved by hand with the one scale, against the defaults."""
    settings = DrawingSettings(steps=3, numerics=numerics)
    prompts = encode_texts(jf.model, jf.processor, TEXTS, is_guided=True)
    cache = prompts.cache  # both texts, then both of their unconditional rows

    def velocity(query: VelocityQuery) -> Tensor:
        x_t = torch.cat([query.x_t, query.x_t])
        return jf.model.velocity(x_t, torch.full((len(x_t),), query.t), cache)

    with torch.no_grad():
        sampler = solve(
            sample_noise(LATENT, seeds=[1, 2]),
            times=torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]),
            state_dtype=torch.bfloat16 if numerics == "parity" else torch.float32,
        )
        by_hand = run_sampler(guide(sampler, lambda t: 2.0), velocity)
    assert torch.equal(draw(jf, TEXTS, seeds=[1, 2], settings=settings), by_hand.float())


@pytest.mark.parametrize(
    "settings",
    [
        DrawingSettings(steps=3, guidance=3.0),
        DrawingSettings(steps=4, guidance="3@0.2-0.7+1..2@0.7-1", guidance_rescale=0.7),
        DrawingSettings(steps=8, reuse=0.5),
    ],
)
def test_an_image_does_not_depend_on_its_neighbours(jf: JanusFlow, settings: DrawingSettings):
    together = draw(jf, TEXTS, seeds=[1, 2], settings=settings)
    alone = [
        draw(jf, [text], seeds=[seed], settings=settings)
        for text, seed in zip(TEXTS, [1, 2], strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_cached_drawing_equals_the_formula_without_cache(jf: JanusFlow):
    """One Euler step by hand: noise + w v(prompt) - (w - 1) v(nothing), prompts read in full."""
    noise = sample_noise(LATENT, seeds=[4, 5])
    prompt, t = prompt_of(jf.model, jf.processor, TEXTS), torch.zeros(2)
    with torch.no_grad():
        conditional = jf.model.velocity(noise, t, prompt)
        nothing = jf.model.velocity(noise, t, unconditional(prompt))
    drawn = draw(jf, TEXTS, seeds=[4, 5], settings=DrawingSettings(steps=1, guidance=2.5))
    torch.testing.assert_close(drawn, noise + 2.5 * conditional - 1.5 * nothing, atol=1e-5, rtol=0)


def test_the_unconditional_branch_reads_the_negative_prompt(
    jf: JanusFlow,
):
    """With the prompt itself as negative, both branches agree and guidance changes nothing."""
    plain = draw(jf, TEXTS[:1], seeds=[1], settings=DrawingSettings(steps=2, guidance=1.0))
    guided = DrawingSettings(steps=2, guidance=6.0)
    same = draw(jf, TEXTS[:1], seeds=[1], settings=guided, negative_prompt=TEXTS[0])
    different = draw(jf, TEXTS[:1], seeds=[1], settings=guided, negative_prompt=TEXTS[1])
    torch.testing.assert_close(same, plain, atol=1e-4, rtol=0)
    assert (different - plain).abs().max() > 1e-2


@pytest.mark.parametrize("solver", SOLVERS)
def test_outside_the_mask_every_solver_ends_on_the_original(solver: str):
    data, noise = torch.randn(2, *LATENT), torch.randn(2, *LATENT)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    drawn = draw_with(
        lambda x_t, t: torch.sin(3 * x_t),
        noise,
        DrawingSettings(steps=4, solver=solver),
        InitImage(latent=data, strength=0.8, mask=mask),
    )
    torch.testing.assert_close(drawn[..., 4:], data[..., 4:], atol=1e-5, rtol=0)
    assert (drawn[..., :4] - data[..., :4]).abs().mean() > 0.1


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_original_is_noised_to_its_strength_and_walked_to_the_end(solver: str):
    """A constant velocity c must add exactly strength * c to the point the drawing starts at."""
    data, noise = torch.randn(1, *LATENT), torch.randn(1, *LATENT)
    drawn = draw_with(
        lambda x_t, t: torch.full_like(x_t, 7.0),
        noise,
        DrawingSettings(steps=10, solver=solver),
        InitImage(latent=data, strength=0.35),
    )
    torch.testing.assert_close(drawn, 0.65 * data + 0.35 * noise + 0.35 * 7.0)


def test_strength_one_starts_from_noise_alone():
    data, noise = torch.randn(1, *LATENT), torch.randn(1, *LATENT)
    settings = DrawingSettings(steps=3)
    free = draw_with(lambda x_t, t: x_t, noise, settings)
    init_image = InitImage(latent=data, strength=1.0)
    torch.testing.assert_close(free, draw_with(lambda x_t, t: x_t, noise, settings, init_image))


def test_a_weaker_original_takes_fewer_steps_of_the_same_size():
    times: list[float] = []
    for strength in (0.5, 0.05):
        image = InitImage(latent=torch.zeros(1, *LATENT), strength=strength)
        settings = DrawingSettings(steps=10)
        draw_with(lambda x_t, t: times.append(t) or x_t, torch.zeros(1, *LATENT), settings, image)
    assert times == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])


def test_parity_keeps_the_state_in_bfloat16():
    seen: list[tuple[torch.dtype, float]] = []

    def velocity(x_t: Tensor, t: float) -> Tensor:
        seen.append((x_t.dtype, t))
        return torch.ones_like(x_t)

    parity = DrawingSettings(steps=30, numerics="parity", guidance=1.0)
    drawn = draw_with(velocity, torch.zeros(1, *LATENT), parity).float()
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
        {"shift": float("inf")},
        {"guidance": 1e30},
        {"guidance": "1e30"},
        {"guidance": "5000"},
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
    with pytest.raises(ConfigError, match=re.escape(str(next(iter(wrong.values()))))):
        DrawingSettings(**wrong)


@pytest.mark.parametrize("strength", [0.0, 1.5, -1.0])
def test_a_strength_outside_its_range_is_refused(strength: float):
    with pytest.raises(ConfigError, match="strength"):
        InitImage(latent=torch.zeros(1, *LATENT), strength=strength)
