"""onnxruntime gives what the model gives: every graph at other lengths, a drawing, answers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from janusflow.flow import VelocityQuery, run_sampler, sample_noise
from janusflow.inference.drawing.prompts import prompt_of
from janusflow.inference.drawing.sampling import DrawingSettings, image_sampler
from janusflow.interop.onnx.graphs import empty_cache, make_graphs
from janusflow.model.prompt import with_unconditional
from janusflow.processing.images import to_images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROMPTS = ["a red circle left of a blue square", "초록색 별 두 개"]
QUESTIONS = ["What is in the image?", "How many shapes are there?", "그림에 무엇이 있나요?"]


def cache_of(jf: Any, *, rows: int, past: int) -> Tensor:
    layers, kinds, _, heads, _, width = empty_cache(jf.model, rows=1).shape
    return torch.randn(layers, kinds, rows, heads, past, width)


def assert_same(pair: Any, name: str, **inputs: Tensor) -> None:
    graphs = {each.name: each for each in make_graphs(pair.jf.model, pair.jf.vae, image_size=64)}
    with torch.no_grad():
        expected = graphs[name].module(**inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for own, other in zip(pair.onnx.run(name, **inputs), expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-5)


def span(jf: Any) -> list[int]:
    """The tokens of one image."""
    config, number = jf.model.config, jf.processor.num_image_tokens
    return [
        config.image_start_token_id,
        *[config.image_token_id] * number,
        config.image_end_token_id,
    ]


@pytest.mark.parametrize("number", [1, 4])
def test_tower_and_vae_at_any_number_of_images(pair: Any, number: int):
    config = pair.jf.model.config
    side = config.vision_config.image_size
    assert_same(pair, "tower", pixel_values=torch.rand(number, 3, side, side) * 2 - 1)
    size = config.generation.latent_size
    assert_same(pair, "vae_decoder", latents=torch.randn(number, 4, size, size))
    pixels = torch.rand(number, 3, pair.jf.image_size, pair.jf.image_size) * 2 - 1
    assert_same(pair, "vae_encoder", pixels=pixels)


@pytest.mark.parametrize(
    ("rows", "past", "tokens"),
    [(1, 0, 1), (1, 0, 23), (3, 0, 9), (1, 40, 1), (2, 17, 1), (2, 3, 5)],
)
def test_decoder_at_any_length_of_prompt_and_cache(pair: Any, rows: int, past: int, tokens: int):
    """The first row is padded on the left where there is room for it."""
    mask = torch.ones(rows, past + tokens, dtype=torch.int64)
    mask[0, 0] = int(past + tokens < 4)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, past:]
    config = pair.jf.model.config
    features = pair.jf.model.image_features(
        torch.rand(1, 3, *[config.vision_config.image_size] * 2)
    )
    assert_same(
        pair,
        "decoder",
        token_ids=torch.randint(10, 200, (rows, tokens)),
        attention_mask=mask,
        position_ids=positions,
        image_features=features[:0].detach(),
        cache=cache_of(pair.jf, rows=rows, past=past),
    )


@pytest.mark.parametrize("past", [0, 6])
def test_decoder_with_two_images_among_the_tokens(pair: Any, past: int):
    config, side = pair.jf.model.config, pair.jf.model.config.vision_config.image_size
    ids = torch.tensor([[config.bos_token_id, 40, *span(pair.jf), *span(pair.jf), 41, 42]])
    assert_same(
        pair,
        "decoder",
        token_ids=ids,
        attention_mask=torch.ones(1, past + ids.shape[1], dtype=torch.int64),
        position_ids=torch.arange(past, past + ids.shape[1])[None],
        image_features=pair.onnx.run("tower", pixel_values=torch.rand(2, 3, side, side))[0],
        cache=cache_of(pair.jf, rows=1, past=past),
    )


@pytest.mark.parametrize(("rows", "past"), [(1, 1), (1, 12), (2, 31), (4, 90)])
def test_velocity_at_any_length_of_prompt(pair: Any, rows: int, past: int):
    size = pair.jf.model.config.generation.latent_size
    mask = torch.ones(rows, past, dtype=torch.int64)
    mask[0, 1:] = 0  # as the unconditional branch has it
    assert_same(
        pair,
        "velocity",
        x_t=torch.randn(rows, 4, size, size),
        t=torch.rand(rows),
        cache=cache_of(pair.jf, rows=rows, past=past),
        attention_mask=mask,
        next_position=torch.full((rows,), past),
    )


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_whole_drawing_is_the_pipelines(mini: Any, prompt: str):
    """30 Euler steps with guidance 2 from the same noise: no level is more than one apart."""
    jf, onnx = mini.jf, mini.onnx
    read = with_unconditional(prompt_of(jf.model, jf.processor, [prompt]))
    rows = len(read.token_ids)
    _, cache = onnx.run(
        "decoder",
        token_ids=read.token_ids,
        attention_mask=read.attention_mask,
        position_ids=read.position_ids,
        image_features=torch.zeros(0, jf.processor.num_image_tokens, 128),
        cache=cache_of(jf, rows=rows, past=0),
    )

    def velocity(query: VelocityQuery) -> Tensor:
        assert query.branches == (0, 1)
        (found,) = onnx.run(
            "velocity",
            x_t=torch.cat([query.x_t] * rows),
            t=torch.full((rows,), query.t),
            cache=cache,
            attention_mask=read.attention_mask,
            next_position=read.position_ids[:, -1] + 1,
        )
        return found

    settings = DrawingSettings(steps=30, guidance=2.0)
    latent = run_sampler(image_sampler(sample_noise((4, 16, 16), seeds=[5]), settings), velocity)
    (drawn,) = to_images(onnx.run("vae_decoder", latents=latent)[0])
    (expected,) = jf.generate(prompt, seed=5, plan="never")
    apart = np.abs(np.asarray(drawn, dtype=int) - np.asarray(expected, dtype=int))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_whole_greedy_answer_is_the_models(mini: Any, question: str):
    jf, onnx = mini.jf, mini.onnx
    (image,) = jf.generate("a red circle left of a blue square", seed=2)
    message = {
        "role": "user",
        "content": [{"type": "image", "image": image}, {"type": "text", "text": question}],
    }
    inputs = jf.prepare_inputs([[message]], allow_paths=False)
    answer = jf.model.generate(**inputs, do_sample=False, max_new_tokens=60)
    expected = answer[0, inputs["input_ids"].shape[1] :].tolist()
    assert len(expected) > 1

    (features,) = onnx.run("tower", pixel_values=inputs["pixel_values"])
    ids, cache, written = inputs["input_ids"], cache_of(jf, rows=1, past=0), []
    while len(written) < len(expected):
        past, length = cache.shape[-2], ids.shape[1]
        logits, cache = onnx.run(
            "decoder",
            token_ids=ids,
            attention_mask=torch.ones(1, past + length, dtype=torch.int64),
            position_ids=torch.arange(past, past + length)[None],
            image_features=features if past == 0 else features[:0],
            cache=cache,
        )
        written.append(int(logits.argmax()))
        ids = torch.tensor([written[-1:]])
    assert written == expected
