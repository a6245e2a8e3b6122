"""What a drawing is explained with over HTTP: the numbers of `explain`, and no harm to others."""

import time
from collections.abc import Iterator
from threading import Thread
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image
from same_images import difference
from serving_calls import listening
from serving_images import opened

from janusflow.config.serving import ServingConfig
from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.drawing.explanation import Observer, explain
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.app import create_app

PATH = "/v1/images/explanations"
BODY = {"prompt": "빨간 원", "seed": 5, "num_inference_steps": 3, "guidance_scale": 3.0}
SETTINGS = DrawingSettings(steps=3, guidance=3.0)


def alike(image: Image.Image, other: Image.Image) -> bool:
    """Up to rounding: here three drawings share a forward."""
    return difference(image, other) <= 1


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60.0) as opened_client:
        yield opened_client


def test_it_tells_what_explain_tells(http: httpx.Client, jf: JanusFlow):
    told = http.post(PATH, json=BODY | {"negative_prompt": "a star"}).json()
    own = explain(jf, "빨간 원", negative_prompt="a star", seed=5, settings=SETTINGS)
    for name, image in (
        ("b64_json", own.image),
        ("unguided", own.unguided),
        ("without_prompt", own.without_prompt),
    ):
        assert alike(opened(told[name]), image)
    assert (told["words"], told["seed"], told["plan"]) == (["빨간", "원"], 5, None)
    assert (told["grid"], told["size"]) == (4, "64x64")
    assert [step["t"] for step in told["steps"]] == [each.step.t for each in own.observations]
    for index, (step, each) in enumerate(zip(told["steps"], own.observations, strict=True)):
        assert alike(opened(step["state"]), each.step.state[0])
        assert alike(opened(step["predicted"]["guided"]), each.step.preview[0])
        for name, image in zip(("conditional", "unconditional"), each.previews, strict=True):
            assert alike(opened(step["predicted"][name]), image)
        numbers = {
            "guidance": own.guidance_size[index],
            "deviation": own.deviation[index],
        }
        for name, number in numbers.items():
            assert step[name] == pytest.approx(float(number), abs=1e-3)
        assert [*step["speed"].values()] == pytest.approx(own.speeds[index].tolist(), abs=1e-3)
        words, image = step["attention"]["words"], step["attention"]["image"]
        np.testing.assert_allclose(words, each.attention_to_words, atol=1e-3)
        np.testing.assert_allclose(image, each.attention_to_image, atol=1e-3)
        assert step["alignment"] is None  # this model has no head


def test_a_plan_that_is_sent_is_what_is_explained(http: httpx.Client, jf: JanusFlow):
    told = http.post(PATH, json=BODY | {"plan_text": "a red circle"}).json()
    assert (told["plan"], told["words"]) == ("a red circle", ["a", "red", "circle"])
    (drawn,) = jf.generate("a red circle", steps=3, guidance=1.0, seed=5)
    assert alike(opened(told["unguided"]), drawn)


def test_a_model_that_plans_is_explained_with_its_plan(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jf.model.config, "plans", True)
    app = create_app(jf, ServingConfig(port=0))
    with listening(app) as address, httpx.Client(base_url=address, timeout=60.0) as client:
        told = client.post(PATH, json=BODY).json()
        unplanned = client.post(PATH, json=BODY | {"plan": "never"}).json()
    assert [told["plan"]] == jf.plan(["빨간 원"], [5])
    assert "".join(told["words"]) == "".join(told["plan"].split())
    assert (unplanned["plan"], unplanned["words"]) == (None, ["빨간", "원"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("stream", True),
        ("response_format", "url"),
        ("num_inference_steps", 51),
        ("solver", "dopri5"),
        ("best_of", 2),
        ("prompt", ""),
    ],
)
def test_what_cannot_be_explained_is_refused_by_name(http: httpx.Client, field: str, value: Any):
    answer = http.post(PATH, json=BODY | {field: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert field.removeprefix("num_inference_") in error["message"]
    assert "\n" not in error["message"]


def test_images_of_others_go_on_between_two_looks(jf: JanusFlow):
    """Counted: while an explanation is looked at, each look is followed by a step of the others."""
    app = create_app(jf, ServingConfig(port=0))
    order: list[str] = []
    scheduler = app.state.engine.scheduler
    submit_call = scheduler.submit_call

    def noting_call(function: Any, **told: Any) -> Any:
        def noted() -> Any:
            order.append("look")
            return function()

        return submit_call(noted, **told)

    scheduler.submit_call = noting_call
    with listening(app) as address, httpx.Client(base_url=address, timeout=60.0) as client:
        thread = Thread(target=client.post, args=(PATH,), kwargs={"json": BODY})
        drawn = scheduler.submit_drawing(
            "a star",
            settings=DrawingSettings(steps=500),
            on_step=lambda step: order.append("step"),
        )
        thread.start()
        thread.join()
        drawn.cancel()
    assert order.count("look") == 4
    looks = [index for index, each in enumerate(order) if each == "look"]
    assert all(order[index + 1] == "step" for index in looks)


@pytest.mark.slow
def test_nobody_looks_any_more_when_the_client_has_gone(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    looks: list[float] = []

    def observe(observer: Observer, step: DrawingStep) -> None:
        looks.append(step.t)
        time.sleep(0.2)

    monkeypatch.setattr(Observer, "observe", observe)
    with pytest.raises(httpx.ReadTimeout):
        http.post(PATH, json=BODY | {"num_inference_steps": 50}, timeout=6.0)
    time.sleep(1.0)
    num_looks = len(looks)
    assert 0 < num_looks < 50
    time.sleep(1.0)
    assert len(looks) == num_looks
    assert http.post(PATH, json=BODY | {"n": 2}).status_code == 400  # it answers on
