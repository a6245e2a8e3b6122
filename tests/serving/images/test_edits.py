"""Images from images, as OpenAI's own client asks for them."""

import sys
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from openai import OpenAI
from PIL import Image

from janusflow.inference.pipeline import JanusFlow

sys.path.insert(0, str(Path(__file__).parents[2]))

from serving_images import (
    HALF,
    MASK,
    STEPS,
    data_uri,
    draw,
    opened,
    png,
    same,
)


def edit(client: OpenAI, **given: Any) -> Any:
    image = ("half.png", png(HALF), "image/png")
    return client.images.edit(image=image, prompt="a star", extra_body=STEPS, **given)


def test_an_edit_is_that_of_generate_from_the_image(client: OpenAI, jf: JanusFlow):
    (alone,) = jf.generate("a star", steps=4, seed=7, init_image=HALF)
    assert same(opened(edit(client).data[0].b64_json), alone)


def test_outside_the_see_through_part_of_the_mask_pixels_are_kept(client: OpenAI):
    answer = edit(client, mask=("mask.png", png(MASK), "image/png"))
    image = opened(answer.data[0].b64_json)
    assert same(image.crop((0, 0, 32, 64)), HALF.crop((0, 0, 32, 64)))
    assert not same(image, HALF)


def test_see_through_parts_of_the_image_itself_are_drawn_anew(client: OpenAI, jf: JanusFlow):
    image = HALF.convert("RGBA")
    image.putalpha(MASK.getchannel("A"))
    file = ("image.png", png(image), "image/png")
    answer = client.images.edit(image=file, prompt="a star", extra_body=STEPS)
    masked = edit(client, mask=("mask.png", png(MASK), "image/png"))
    assert same(opened(answer.data[0].b64_json), opened(masked.data[0].b64_json))


def test_n_edits_are_n_different_images(client: OpenAI):
    answer = edit(client, n=3)
    assert len({each.b64_json for each in answer.data}) == 3


def test_json_and_form_give_the_same_image(client: OpenAI, http: httpx.Client):
    body = {"prompt": "a star", "images": [{"image_url": data_uri(HALF)}], **STEPS}
    body |= {"mask": {"image_url": data_uri(MASK)}}
    answer = http.post("/v1/images/edits", json=body).json()
    form = edit(client, mask=("mask.png", png(MASK), "image/png"))
    assert answer["data"][0]["b64_json"] == form.data[0].b64_json


def test_an_edit_streams_events_of_its_own(client: OpenAI):
    told = list(edit(client, stream=True, partial_images=1))
    assert [each.type for each in told] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_strength_is_that_of_generate(http: httpx.Client, jf: JanusFlow, strength: float):
    body = {"prompt": "a star", "images": [{"image_url": data_uri(HALF)}], **STEPS}
    told = http.post("/v1/images/edits", json=body | {"strength": strength}).json()
    (alone,) = jf.generate("a star", steps=4, seed=7, init_image=HALF, strength=strength)
    assert same(opened(told["data"][0]["b64_json"]), alone)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"images": []}, "image"),
        ({"images": [{"image_url": data_uri(HALF)}] * 2}, "image"),
        ({"images": [{"file_id": "file-1"}]}, "images"),
        ({"images": [{"url": "x"}]}, "images.0.url"),
        ({"mask": {"image_url": data_uri(HALF.resize((32, 32)))}}, "mask"),
        ({"mask": {"image_url": data_uri(Image.new("L", (64, 64)))}}, "mask"),
        ({"strength": 2}, "strength"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_what_is_wrong_with_an_edit_is_named(
    http: httpx.Client, change: dict[str, Any], param: str
):
    body = {"prompt": "a star", "images": [{"image_url": data_uri(HALF)}], **STEPS}
    answer = http.post("/v1/images/edits", json=body | change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("url", ["/etc/passwd", "file:///etc/passwd", "../secret.png"])
def test_no_path_is_opened(http: httpx.Client, url: str):
    body = {"prompt": "a star", "images": [{"image_url": url}]}
    answer = http.post("/v1/images/edits", json=body)
    assert answer.status_code == 400
    assert "data: URI" in answer.json()["error"]["message"]


def test_a_broken_image_is_refused_in_one_line(http: httpx.Client):
    answer = http.post(
        "/v1/images/edits", data={"prompt": "a star"}, files={"image": png(HALF)[:40]}
    )
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]["message"]


def test_the_seed_of_the_source_does_not_give_the_source_back(client: OpenAI, http: httpx.Client):
    source = opened(draw(client).data[0].b64_json)
    body = {"prompt": "a circle", "images": [{"image_url": data_uri(source)}], **STEPS}
    told = http.post("/v1/images/edits", json=body | {"strength": 0.6}).json()
    assert not same(opened(told["data"][0]["b64_json"]), source)
