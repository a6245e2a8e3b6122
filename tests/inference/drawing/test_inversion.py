"""Images drawn from their own noise: back again by the same words, elsewhere by others."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from torch import Tensor

import janusflow
from janusflow.config.errors import ConfigError
from janusflow.flow import SOLVERS, VelocityQuery, run_sampler
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.inversion import invert
from janusflow.inference.drawing.latents import decode_latents, encode_image
from janusflow.inference.drawing.sampling import DrawingSettings, image_sampler
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene

PROMPT = "a red circle"
LATENT = (4, 8, 8)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def off(a: Image.Image, b: Image.Image) -> float:
    """Mean difference, in levels."""
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def velocity(query: VelocityQuery) -> Tensor:
    return torch.sin(3 * query.x_t) + query.t


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_same_velocity_leads_back_to_the_latent(solver: str, strength: float, shift: float):
    latent = torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(0))
    settings = DrawingSettings(steps=60, solver=solver, shift=shift, guidance=1.0)
    own = invert(velocity, latent, start=1 - strength, settings=settings)
    init_image = InitImage(latent=latent, strength=strength, inverted_noise=own)
    sampler = image_sampler(torch.randn(1, *LATENT), settings, init_image=init_image)
    drawn = run_sampler(sampler, velocity)
    tolerance = {"euler": 0.2, "dopri5": 0.1}.get(solver, 1e-3)
    torch.testing.assert_close(drawn, latent, atol=tolerance, rtol=0)
    assert (own - latent).abs().mean() > 0.1


@pytest.mark.slow
def test_the_same_prompt_gives_what_the_vae_makes_of_the_image():
    """The better the solver, the closer. On `mini`: the flow of random weights is too wild."""
    mini = janusflow.load("mini")
    image = render(sample_scene(np.random.default_rng(1), num_objects=1), size=64)
    (wanted,) = decode_latents(mini.vae, encode_image(mini.vae, image, size=64))

    def error(invert: str, solver: str, steps: int) -> float:
        how: dict[str, Any] = {"solver": solver, "steps": steps, "guidance": 1.0}
        return off(mini.generate(PROMPT, init_image=image, invert=invert, **how)[0], wanted)

    euler, rk4 = error(PROMPT, "euler", 30), error(PROMPT, "rk4", 10)
    assert rk4 < 0.2 < euler
    assert error("", "rk4", 10) > 10 * rk4


def test_the_way_back_costs_one_prompt_and_one_evaluation_a_step(
    jf: JanusFlow, image: Image.Image, llm_count: Any
):
    jf.generate(PROMPT, init_image=image, invert="a blue star", steps=5, strength=0.6)
    assert llm_count.calls == (1 + 3) + (1 + 3)
    shown, asked = (
        jf.processor.prompts([text]).input_ids.shape[1] for text in ("a blue star", PROMPT)
    )
    image_tokens = 17
    assert llm_count.positions == shown + 3 * image_tokens + 2 * asked + 3 * 2 * image_tokens


def test_no_seed_changes_the_image(jf: JanusFlow, image: Image.Image):
    one, other = (
        jf.generate(PROMPT, init_image=image, invert="", steps=2, seed=seed)[0] for seed in (1, 2)
    )
    assert off(one, other) == 0


def test_a_mask_still_keeps_what_is_outside(jf: JanusFlow, image: Image.Image):
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    (drawn,) = jf.generate(PROMPT, init_image=image, invert="", mask=mask, steps=2)
    changed = ImageChops.difference(drawn, image).convert("L").point(lambda v: 255 * (v > 0))
    assert changed.getbbox() == (16, 16, 48, 48)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "invert= and no mask without init_image"),
        ({"init_image": True, "num_images": 2}, "num_images=2, best_of=1"),
        ({"init_image": True, "best_of": 2}, "best_of=2"),
        ({"init_image": True, "numerics": "parity"}, "numerics=parity"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    jf: JanusFlow, image: Image.Image, wrong: dict[str, Any], message: str
):
    if "init_image" in wrong:
        wrong = {**wrong, "init_image": image}
    with pytest.raises(ConfigError, match=message) as refusal:
        jf.generate(PROMPT, invert="", steps=1, **wrong)
    assert "\n" not in str(refusal.value)
