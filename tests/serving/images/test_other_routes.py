"""Variations, larger images, plans, and what is the same for all routes."""

import json
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
from openai import OpenAI
from PIL import Image

from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.pipeline import JanusFlow

sys.path.insert(0, str(Path(__file__).parents[2]))

from serving_images import (
    HALF,
    STEPS,
    data_uri,
    draw,
    events,
    level_difference,
    opened,
    png,
    same,
)


def test_a_variation_draws_what_the_model_says_of_the_image(client: OpenAI, jf: JanusFlow):
    with pytest.deprecated_call():  # OpenAI's own models have none any more
        answer = client.images.create_variation(
            image=("half.png", png(HALF), "image/png"), n=2, extra_body=STEPS
        )
    said = jf.ask(HALF, "Describe the picture.", max_new_tokens=96)
    image = opened(answer.data[0].b64_json)
    record = record_of(image)
    assert record is not None
    assert record.prompt == said
    (alone,) = jf.generate(said, steps=4, seed=7, init_image=HALF)
    assert level_difference(image, alone) <= 1
    assert answer.data[0].b64_json != answer.data[1].b64_json


@pytest.mark.parametrize("factor", [2, 3])
def test_an_upscale_is_so_many_times_as_large_and_keeps_the_record(
    http: httpx.Client, client: OpenAI, factor: int
):
    small = opened(draw(client).data[0].b64_json)
    body = {"images": [{"image_url": data_uri(small)}], "upscale": f"lanczos:{factor}"}
    told = http.post("/v1/images/upscales", json=body).json()
    large = opened(told["data"][0]["b64_json"])
    assert large.size == (64 * factor, 64 * factor)
    assert same(large, small.convert("RGB").resize(large.size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("upscale", ["realesrgan:2", "lanczos:99", "lanczos", "/etc/passwd"])
def test_an_upscale_that_is_not_offered_is_refused(http: httpx.Client, upscale: str):
    body = {"images": [{"image_url": data_uri(HALF)}], "upscale": upscale}
    answer = http.post("/v1/images/upscales", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "upscale")


def test_a_model_that_has_not_learnt_to_plan_says_so(http: httpx.Client):
    answer = http.post("/v1/images/plans", json={"prompt": "a star"})
    assert answer.status_code == 400
    assert "plan" in answer.json()["error"]["message"]


def test_a_broken_body_is_no_bug(http: httpx.Client):
    for content in (b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000):
        answer = http.post(
            "/v1/images/edits", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, content[:20]
        assert json.dumps(answer.json()["error"])


def test_events_are_named_by_their_type(http: httpx.Client):
    body = {"prompt": "a star", "stream": True, "partial_images": 1, **STEPS}
    with http.stream("POST", "/v1/images/generations", json=body) as answer:
        told = list(events(answer.iter_lines()))
    assert [each["type"].rpartition(".")[2] for each in told] == ["partial_image", "completed"]
    assert opened(told[0]["b64_json"]).size == (64, 64)
