"""Images from words, as OpenAI's own client asks for them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.seeds import LARGEST_SEED
from janusflow.inference.pipeline import JanusFlow

sys.path.insert(0, str(Path(__file__).parents[2]))

from serving_images import (
    draw,
    level_difference,
    opened,
    same,
)


def test_an_image_is_that_of_generate_and_its_file_says_how_it_was_drawn(
    client: OpenAI, jf: JanusFlow
):
    image = opened(draw(client).data[0].b64_json)
    (alone,) = jf.generate("a star", steps=4, seed=7)
    assert same(image, alone)
    record = record_of(image)
    assert record is not None
    assert (record.prompt, record.seed, record.steps) == ("a star", 7, 4)


def test_n_images_have_seeds_one_after_the_other(client: OpenAI, jf: JanusFlow):
    answer = draw(client, n=3)
    assert [each.seed for each in answer.data] == [7, 8, 9]
    for each, seed in zip(answer.data, (7, 8, 9), strict=True):
        (alone,) = jf.generate("a star", steps=4, seed=seed)
        assert level_difference(opened(each.b64_json), alone) <= 1


def test_without_a_seed_everyone_gets_an_image_of_their_own(client: OpenAI):
    answers = [
        client.images.generate(prompt="a star", extra_body={"num_inference_steps": 2})
        for _ in range(2)
    ]
    assert answers[0].data[0].b64_json != answers[1].data[0].b64_json
    assert answers[0].data[0].seed != answers[1].data[0].seed


@pytest.mark.parametrize("seed", [0, 2**32, LARGEST_SEED - 1])
def test_every_seed_in_range_is_taken_and_told(client: OpenAI, seed: int):
    answer = draw(client, extra_body={"seed": seed, "num_inference_steps": 1})
    assert answer.data[0].seed == seed


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED, 1.5, "many"])
def test_a_seed_that_is_none_is_refused_by_its_name(client: OpenAI, seed: Any):
    with pytest.raises(openai.BadRequestError) as refused:
        draw(client, extra_body={"seed": seed})
    assert refused.value.param == "seed"


def test_our_names_of_settings_mean_those_of_diffusers(client: OpenAI):
    ours = {"steps": 3, "guidance": "3@0.1-0.6", "num_inference_steps": None}
    theirs = {"num_inference_steps": 3, "guidance_scale": "3@0.1-0.6"}
    images = [
        client.images.generate(prompt="a star", extra_body={"seed": 7} | names)
        for names in ({k: v for k, v in ours.items() if v}, theirs)
    ]
    assert images[0].data[0].b64_json == images[1].data[0].b64_json


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"solver": "eulr"}, "solver"),
        ({"guidance_scale": "strong"}, "guidance_scale"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 100_000}, "num_inference_steps"),
        ({"best_of": 100}, "best_of"),
        ({"shift": -1}, "shift"),
        ({"style": "vivid"}, "style"),
        ({"background": "transparent"}, "background"),
        ({"num_inference_step": 3}, "num_inference_step"),
        ({"extra_body": {"steps": 3}}, "extra_body"),
        ({"partial_images": 2}, "partial_images"),
        ({"response_format": "file"}, "response_format"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(
    client: OpenAI, settings: dict[str, Any], param: str
):
    with pytest.raises(openai.BadRequestError) as refused:
        draw(client, extra_body=settings)
    assert refused.value.param == param


def test_another_size_is_refused_with_the_size_that_is_drawn(client: OpenAI):
    with pytest.raises(openai.BadRequestError, match="64x64"):
        draw(client, size="1024x1024")
    assert draw(client, size="64x64").size == "64x64"


@pytest.mark.parametrize(
    ("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")]
)
def test_files_have_the_format_that_is_asked_for(client: OpenAI, output_format: Any, kind: str):
    answer = draw(client, output_format=output_format, output_compression=50)
    assert opened(answer.data[0].b64_json).format == kind
    assert answer.output_format == output_format


def test_a_url_holds_the_image_itself(client: OpenAI):
    answer = draw(client, response_format="url")
    url, inside = answer.data[0].url, draw(client).data[0].b64_json
    assert url == f"data:image/png;base64,{inside}"
    assert answer.data[0].b64_json is None


def test_usage_counts_the_prompt_and_the_tokens_of_images(client: OpenAI, jf: JanusFlow):
    usage = draw(client, n=2).usage
    read = jf.processor.prompts(["a star"])["attention_mask"].sum()
    assert usage.input_tokens == 2 * read
    assert usage.output_tokens == 2 * jf.model.config.generation.num_tokens
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_plan_text_is_drawn_in_place_of_the_prompt_and_recorded(client: OpenAI, jf: JanusFlow):
    answer = draw(client, extra_body={"plan_text": "a circle"})
    image = opened(answer.data[0].b64_json)
    assert same(image, jf.generate("a circle", steps=4, seed=7)[0])
    record = record_of(image)
    assert record is not None
    assert (record.prompt, record.plan) == ("a star", "a circle")
    assert answer.data[0].plan == "a circle"


def test_what_open_webui_sends_is_answered_with_base64(http: httpx.Client, jf: JanusFlow):
    body = {"model": jf.name, "prompt": "a star", "n": 1, "size": "64x64"}
    answer = http.post("/v1/images/generations", json=body | {"response_format": "b64_json"})
    assert opened(answer.json()["data"][0]["b64_json"]).size == (64, 64)


def test_requests_at_once_get_each_their_own_images(client: OpenAI, jf: JanusFlow):
    def one(seed: int) -> Image.Image:
        return opened(draw(client, extra_body={"seed": seed}).data[0].b64_json)

    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(one, range(16)))
    for seed, image in enumerate(images):
        assert level_difference(image, jf.generate("a star", steps=4, seed=seed)[0]) <= 1
