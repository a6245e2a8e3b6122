"""Rewards and rollouts: what `jf` says of several images at once is what it says of each."""

import pytest
import torch
from PIL import Image
from tiny_run import run_model, run_processor, run_vae

from janusflow.config.errors import ConfigError
from janusflow.config.learning.preference import PreferenceConfig, RewardConfig
from janusflow.inference.drawing.best_of import chance_of_yes
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.rewards import answers, likelihood, rewards_of
from janusflow.inference.rollouts import OwnRollouts

PROMPT = "a red circle and a blue square"
IMAGES = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "white")]


@pytest.fixture(scope="module")
def jf() -> JanusFlow:
    return JanusFlow(model=run_model(), processor=run_processor(), vae=run_vae(), name="tiny")


def test_likelihoods_of_several_are_those_of_each(jf: JanusFlow):
    """Questions and answers of different lengths: padding on either side counts for nothing."""
    questions = ["What is it?", "Which colour does it have?", "Say it."]
    said = ["red", "a blue one, I think", "nothing"]
    found = jf.log_likelihoods(
        [([image], question) for image, question in zip(IMAGES, questions, strict=True)], said
    )
    alone = [
        jf.log_likelihood(image, question, answer)
        for image, question, answer in zip(IMAGES, questions, said, strict=True)
    ]
    assert found == pytest.approx(alone, abs=2e-5)
    assert len({*found}) == 3


def test_likelihood_is_of_the_prompt_as_an_answer_about_each_image(jf: JanusFlow):
    asked = "What does it show?"
    alone = [jf.log_likelihood(image, asked, PROMPT) for image in IMAGES]
    assert likelihood(jf, PROMPT, IMAGES, question=asked) == pytest.approx(alone, abs=2e-5)


def test_answers_order_images_as_best_of_n_does(jf: JanusFlow):
    chances = torch.tensor([chance_of_yes(jf, image, PROMPT) for image in IMAGES])
    found = torch.tensor(answers(jf, PROMPT, IMAGES))
    torch.testing.assert_close(torch.sigmoid(found), chances, atol=1e-5, rtol=0)


def test_a_reward_is_found_by_its_name_or_where_it_lies(jf: JanusFlow):
    named = RewardConfig(name="tiny_rounds:redness")
    asked = RewardConfig(name="likelihood", options={"question": "What?"})
    found = rewards_of(jf, PROMPT, IMAGES, [named, asked])
    assert found["tiny_rounds:redness"] == [255.0, -255.0, 0.0]
    assert found["likelihood"] == likelihood(jf, PROMPT, IMAGES, question="What?")
    with pytest.raises(ConfigError, match=r"rewards \(likelihood, answers, or a function\) likely"):
        rewards_of(jf, PROMPT, IMAGES, [RewardConfig(name="likely")])
    with pytest.raises(ConfigError, match=r"tiny_rounds:one gave 1 values for 3 images"):
        rewards_of(jf, PROMPT, IMAGES, [RewardConfig(name="tiny_rounds:one")])


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_rollout_is_what_generate_draws_with_the_latents_it_decodes(
    jf: JanusFlow, guidance: float
):
    config = PreferenceConfig(drawing_steps=3, guidance=guidance, solver="heun")
    latents, images = OwnRollouts().draw(
        jf.model, jf.processor, jf.vae, config, prompt=PROMPT, seeds=[7, 3]
    )
    drawn = jf.generate(
        PROMPT, num_images=2, seed=[7, 3], steps=3, guidance=guidance, solver="heun", plan="never"
    )
    decoded = decode_latents(jf.vae, latents)
    for image, wanted, again in zip(images, drawn, decoded, strict=True):
        assert image.tobytes() == wanted.tobytes() == again.tobytes()
    assert latents.shape == (2, 4, 8, 8)
