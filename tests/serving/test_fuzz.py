"""Whatever is sent: no crash, no traceback, no growing memory."""

import asyncio
import base64
import gc
import io
import json
import logging
import random
from collections import Counter
from typing import Any

import httpx2 as httpx
import psutil
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from PIL import Image
from serving_calls import listening

from janusflow.config.serving import ServingConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.app import create_app

NUM_BODIES = 10_000
AT_ONCE = 50
NUM_CASES = 25
MAX_GROWTH = 64 << 20
PATHS = ("/v1/chat/completions", "/v1/images/generations")
BASE: dict[str, dict[str, Any]] = {
    PATHS[0]: {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 1},
    PATHS[1]: {"prompt": "a star", "num_inference_steps": 1, "guidance_scale": 1, "plan": "never"},
}
NAMES = (
    *("model", "messages", "n", "seed", "stop", "stream", "temperature", "top_p", "logprobs"),
    *("max_tokens", "tools", "prompt", "size", "solver", "shift", "grid", "plan", "guidance"),
    *("best_of", "reuse", "numerics", "negative_prompt", "stream_options", "top_logprobs", "x"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, -1e308, 10**30, 2**63, "", "a", "auto"),
    *("never", "\ud800", "\x00", "<｜end▁of▁sentence｜>", "3@0.1-0.6", "64x64", "../../etc/passwd"),
    *([], {}, [[]], [None], {"a": {"b": []}}, ["a"] * 5, "파란 별", "x" * 40_000, "mini"),
    *(float("nan"), float("inf"), [{"role": "user", "content": "\ud800"}]),
)


LENIENT = [schemathesis.checks.unsupported_method, schemathesis.checks.positive_data_acceptance]
"""Not looked at: other methods; and what fits the types may be refused, such as an unknown role."""


WRONG_LENGTHS = (0, -1, 1.5, "", "a", [], {}, "파란 별")


def image_bytes() -> bytes:
    content = io.BytesIO()
    Image.effect_noise((24, 16), 60.0).save(content, format="PNG")
    return content.getvalue()


def spoilt(content: bytes, chance: random.Random) -> bytes:
    """Bytes with some of them changed, cut or doubled."""
    changed = bytearray(content)
    for _ in range(chance.randrange(6)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    cut = chance.randrange(len(changed)) if chance.random() < 0.3 else len(changed)
    return bytes(changed[:cut]) * chance.choice((1, 1, 2))


def body_of(path: str, chance: random.Random, image: bytes) -> bytes:
    """A body that is nearly right, or not at all."""
    body = dict(BASE[path])
    for _ in range(chance.randrange(1, 5)):
        body[chance.choice(NAMES)] = chance.choice(VALUES)
    if body.get("max_tokens", 0) not in WRONG_LENGTHS:
        body["max_tokens"] = 1  # not hundreds, which would only take long
    if path == PATHS[0] and chance.random() < 0.4:
        data = base64.b64encode(spoilt(image, chance)).decode("ascii")
        url = chance.choice(
            (f"data:image/png;base64,{data}", data, data[:50], "file:///etc/passwd")
        )
        part = {
            "type": chance.choice(("image_url", "image", "text", "x")),
            "image_url": {"url": url},
        }
        body["messages"] = [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]
    written = json.dumps(body).encode()
    return spoilt(written, chance) if chance.random() < 0.2 else written


async def send_all(app: FastAPI, statuses: Counter[int]) -> int:
    """Send all bodies, some at once; how much the memory has grown after a fifth of them."""
    chance, image, before = random.Random(0), image_bytes(), 0
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def send(path: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await client.post(path, content=body, headers=headers, timeout=120)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (body[:2000], answer.text)
        assert "Traceback" not in answer.text

    async with client:
        for number in range(0, NUM_BODIES, AT_ONCE):
            paths = [PATHS[chance.random() < 0.05] for _ in range(AT_ONCE)]
            await asyncio.gather(*(send(path, body_of(path, chance, image)) for path in paths))
            if number < NUM_BODIES // 5:
                gc.collect()
                before = psutil.Process().memory_info().rss
    gc.collect()
    return psutil.Process().memory_info().rss - before


@pytest.mark.slow
def test_ten_thousand_bodies_do_no_harm(jf: JanusFlow):
    config = ServingConfig(reuse_bytes=8 << 20, max_steps=4, max_best_of=2, max_choices=3)
    app, statuses = create_app(jf, config), Counter[int]()
    logging.getLogger("janusflow").setLevel(logging.CRITICAL)  # pytest would keep every line
    try:
        with app.state.engine.running():
            growth = asyncio.run(send_all(app, statuses))
    finally:
        logging.getLogger("janusflow").setLevel(logging.NOTSET)
    assert growth < MAX_GROWTH
    assert min(statuses[200], statuses[400]) > NUM_BODIES // 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_answers_are_what_the_openapi_document_says(jf: JanusFlow):
    """Schemathesis makes requests of the document, right ones and wrong ones."""
    app = create_app(jf, ServingConfig(port=0, max_steps=4, max_best_of=2, max_choices=3))
    with listening(app) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        for operation in schema.get_all_operations():

            @given(operation.ok().as_strategy())
            @settings(max_examples=NUM_CASES, deadline=None, suppress_health_check=[*HealthCheck])
            def check(made: Any) -> None:
                made.call_and_validate(excluded_checks=LENIENT, timeout=120)

            check()
