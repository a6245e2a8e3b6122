"""Two replicas on a local Ray answer as one server does, and pass streams through as they come."""

import base64
import importlib.util
import io
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from PIL import Image

import janusflow

ray = pytest.importorskip("ray", reason='needs pip install "janusflow[ray]"')

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
FILE = Path(__file__).parents[2] / "deploy" / "ray_serve.py"
PORT = 8123
DRAWING: dict[str, Any] = {"model": "mini", "prompt": "a red circle"}
SETTINGS = {"num_inference_steps": 4, "plan": "never"}


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ray_serve", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["ray_serve"] = loaded
    spec.loader.exec_module(loaded)
    ray.cloudpickle.register_pickle_by_value(loaded)
    return loaded


@pytest.fixture(scope="module")
def client(module: ModuleType) -> Iterator[OpenAI]:
    from ray import serve

    ray.init(num_cpus=4, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    settings = module.Settings(model="mini", min_replicas=2, max_replicas=2, cpus=0.5)
    serve.run(module.build(settings), name="janusflow")
    with OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none", max_retries=0) as opened:
        yield opened
    serve.shutdown()
    ray.shutdown()


def test_two_replicas_draw_what_one_model_draws(client: OpenAI):
    from ray import serve

    def drawn(seed: int) -> bytes:
        answer = client.images.generate(**DRAWING, extra_body={**SETTINGS, "seed": seed})
        file = io.BytesIO(base64.b64decode(answer.data[0].b64_json))
        return Image.open(file).convert("RGB").tobytes()

    states = serve.status().applications["janusflow"].deployments["janusflow"].replica_states
    assert {str(getattr(name, "value", name)): n for name, n in states.items()} == {"RUNNING": 2}
    with ThreadPoolExecutor(6) as pool:
        found = [*pool.map(drawn, range(6))]
    jf = janusflow.load("mini", device="cpu")
    for seed, image in enumerate(found):
        (wanted,) = jf.generate("a red circle", seed=seed, steps=4, plan="never")
        apart = zip(image, wanted.tobytes(), strict=True)
        assert max(abs(a - b) for a, b in apart) <= 1


def test_partial_images_come_before_the_drawing_is_done(client: OpenAI):
    settings = {**SETTINGS, "seed": 1, "num_inference_steps": 30}
    stream = client.images.generate(**DRAWING, stream=True, partial_images=2, extra_body=settings)
    told = [(event.type, time.monotonic()) for event in stream]
    assert [kind for kind, _ in told] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert told[-1][1] - told[0][1] > 0.1


def test_a_mistake_is_told_in_openais_shape(client: OpenAI):
    with pytest.raises(BadRequestError, match="solver"):
        client.images.generate(**DRAWING, extra_body={"solver": "nosuch"})


def test_an_unknown_setting_is_refused(module: ModuleType):
    with pytest.raises(ValueError, match="replicas"):
        module.Settings(replicas=2)
