"""What only a trained model shows: plans, and that nobody waits for a client that has gone."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from openai import OpenAI

import janusflow
from janusflow.config.serving import ServingConfig
from janusflow.inference.batching.counts import Counts
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.upscaling.upscalers import make_upscaler
from janusflow.serving.app import create_app

sys.path.insert(0, str(Path(__file__).parents[2]))

from serving_calls import listening
from serving_images import events, opened, same

PROMPT = "a red circle left of a blue square"


@pytest.fixture(scope="module")
def mini() -> JanusFlow:
    return janusflow.load("mini")


@pytest.fixture(scope="module")
def app(mini: JanusFlow) -> FastAPI:
    return create_app(mini, ServingConfig(port=0))


@pytest.fixture(scope="module")
def http(app: FastAPI) -> Iterator[httpx.Client]:
    with listening(app) as url, httpx.Client(base_url=url, timeout=60.0) as opened_client:
        yield opened_client


def wait_until(counts: Callable[[], Counts], is_so: Callable[[Counts], bool]) -> Counts:
    for _ in range(500):
        if is_so(now := counts()):
            return now
        time.sleep(0.01)
    raise AssertionError(f"not within five seconds: {counts()}")


def test_a_plan_is_that_of_plan_and_drawing_it_gives_what_planning_gives(
    http: httpx.Client, mini: JanusFlow
):
    plan = http.post("/v1/images/plans", json={"prompt": PROMPT, "seed": 3}).json()["plan"]
    assert [plan] == mini.plan([PROMPT], [3])
    body = {"prompt": PROMPT, "seed": 3, "num_inference_steps": 5}
    planned, given = (
        http.post("/v1/images/generations", json=body | more).json()["data"][0]
        for more in ({}, {"plan_text": plan})
    )
    assert planned["plan"] == given["plan"] == plan
    assert planned["b64_json"] == given["b64_json"]


def test_a_stream_tells_the_plan_first_and_once(http: httpx.Client):
    body = {"prompt": PROMPT, "seed": 3, "num_inference_steps": 5}
    body |= {"stream": True, "preview_every": 2}
    with http.stream("POST", "/v1/images/generations", json=body) as answer:
        told = list(events(answer.iter_lines()))
    kinds = [each["type"].removeprefix("image_generation.") for each in told]
    assert kinds[0] == "plan"
    assert kinds.count("plan") == 1
    assert kinds[-1] == "completed"
    assert told[0]["plan"] == told[-1]["plan"]


def test_refining_is_that_of_the_command(http: httpx.Client, mini: JanusFlow):
    body = {"prompt": PROMPT, "seed": 3, "response_format": "url", "num_inference_steps": 5}
    small = http.post("/v1/images/generations", json=body).json()["data"][0]["url"]
    body = {"images": [{"image_url": small}], "upscale": "refine:2"}
    told = http.post("/v1/images/upscales", json=body).json()["data"][0]
    refine = make_upscaler("refine:2", vae=mini.vae, device=mini.model.device)
    (alone,) = refine([opened(small.partition(",")[2]).convert("RGB")])
    assert same(opened(told["b64_json"]), alone)


def test_the_rows_of_a_client_that_has_gone_leave_the_next_forward(
    app: FastAPI, http: httpx.Client
):
    scheduler = app.state.engine.scheduler
    before = scheduler.counts
    body = {"prompt": PROMPT, "n": 4, "num_inference_steps": 200, "plan": "never"}
    body |= {"stream": True, "preview_every": 1}
    with http.stream("POST", "/v1/images/generations", json=body) as answer:
        next(events(answer.iter_lines()))
        wait_until(lambda: scheduler.counts, lambda now: now.running_images == 4)
    after = wait_until(lambda: scheduler.counts, lambda now: now.running_images == 0)
    assert after.finished_images == before.finished_images
    assert after.steps - before.steps < 200


def test_partial_images_are_the_openai_clients_own_events(http: httpx.Client):
    client = OpenAI(base_url=f"{http.base_url}/v1", api_key="any", max_retries=0)
    with client, client.images.generate(prompt=PROMPT, stream=True, partial_images=2) as told:
        kinds = [each.type for each in told]
    assert kinds.count("image_generation.partial_image") == 2
    assert kinds[-1] == "image_generation.completed"
