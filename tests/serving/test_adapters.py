"""Adapters as models of their own: listed, chosen by a request's `model`, drawn side by side."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from adapter_folders import write_adapter
from PIL import Image
from same_images import difference
from starlette.testclient import TestClient
from tiny_model import tiny_janusflow

from janusflow.serving.app import create_app

LEVELS = 1
NAMES = ["tiny", "tiny:style", "tiny:other"]
WEIGHTS: list[dict[str, float]] = [{}, {"style": 0.5}, {"other": 1.0}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root, model = tmp_path_factory.mktemp("adapters"), tiny_janusflow().model
    return {
        name: write_adapter(root / name, model, seed=seed, on=("llm", "generation"))
        for seed, name in enumerate(("style", "other"))
    }


@pytest.fixture(scope="module")
def client(folders: dict[str, Path]) -> Iterator[TestClient]:
    """One adapter was loaded with a weight of its own, one without being switched on."""
    jf = tiny_janusflow()
    jf.load_adapter(folders["style"], weight=0.5)
    jf.load_adapter(folders["other"], weight=0.0)
    with TestClient(create_app(jf), base_url="http://127.0.0.1:8000") as started:
        yield started


def draw(client: TestClient, **fields: Any) -> str:
    body = {"prompt": "a star", "seed": 1, "num_inference_steps": 2, **fields}
    answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]["b64_json"]


def are_alike(first: str, second: str) -> bool:
    """Up to rounding, which depends on what is drawn beside an image."""
    images = [Image.open(io.BytesIO(base64.b64decode(each))) for each in (first, second)]
    return difference(*images) <= LEVELS


def ask(client: TestClient, **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 5, **fields}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_adapter_is_listed_as_a_model_with_its_parent(client: TestClient):
    listed = client.get("/v1/models").json()["data"]
    assert [each["id"] for each in listed] == NAMES
    assert [each["parent"] for each in listed] == [None, "tiny", "tiny"]
    assert client.get("/v1/models/tiny:style").json() == listed[1]
    assert client.get("/v1/models/tiny:nothing").status_code == 404


def test_the_model_of_a_request_chooses_and_requests_run_side_by_side(
    client: TestClient, folders: dict[str, Path]
):
    with ThreadPoolExecutor(6) as pool:
        images = list(pool.map(lambda name: draw(client, model=name), NAMES))
        answers = list(pool.map(lambda name: ask(client, model=name), NAMES))
    assert [each["model"] for each in answers] == NAMES
    assert are_alike(draw(client), images[0])
    assert not any(are_alike(a, b) for a, b in combinations(images, 2))
    for number, weights in enumerate(WEIGHTS):
        alone = tiny_janusflow()
        for name, weight in weights.items():
            alone.load_adapter(folders[name], weight=weight)
        wanted = alone.ask(None, "What?", max_new_tokens=5)
        assert answers[number]["choices"][0]["message"]["content"] == wanted
        with TestClient(create_app(alone), base_url="http://127.0.0.1:8000") as own:
            model = f"tiny:{name}" if weights else "tiny"
            assert are_alike(draw(own, model=model), images[number])


def test_an_unknown_adapter_is_refused_with_what_there_is(client: TestClient):
    for path, body in (
        ("/v1/images/generations", {"prompt": "a star"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "What?"}]}),
        ("/v1/images/plans", {"prompt": "a star"}),
    ):
        answer = client.post(path, json={**body, "model": "tiny:nothing"})
        assert answer.status_code == 404
        assert "use tiny or tiny:style or tiny:other" in answer.json()["error"]["message"]


def test_an_explanation_looks_at_the_model_with_the_adapter(client: TestClient):
    body = {"prompt": "a star", "seed": 1, "num_inference_steps": 2}
    told = [
        client.post("/v1/images/explanations", json={**body, "model": name}).json()
        for name in NAMES[:2]
    ]
    for answer, name in zip(told, NAMES[:2], strict=True):
        assert are_alike(answer["b64_json"], draw(client, model=name))
    assert told[0]["steps"] != told[1]["steps"]
