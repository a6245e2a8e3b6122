"""What a request may take of the server, and what is let go when nobody waits for it any more."""

import json
import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import openai
import pytest
from fastapi import FastAPI
from openai import OpenAI
from serving_calls import QUESTION, ask, listening, text_of
from starlette.testclient import TestClient

from janusflow.config.serving import ServingConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.app import create_app
from janusflow.serving.engine import Engine
from janusflow.serving.logs import JsonFormatter

CHAT = "/v1/chat/completions"
LONG = {"messages": QUESTION, "max_tokens": 900}
ENDLESS = {"prompt": "a star", "num_inference_steps": 200, "solver": "rk4", "n": 2}


def wait_until(is_so: Callable[[], Any]) -> None:
    until = time.monotonic() + 30.0
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)


def engine_of(app: FastAPI) -> Engine:
    return app.state.engine


def send(address: str, path: str, body: Any) -> socket.socket:
    """A connection on which a request was sent, and whose answer nobody reads."""
    host, port = address.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_leaves_the_next_forward_when_its_client_goes(
    endless: JanusFlow, app: FastAPI, address: str, stream: bool
):
    """Counted: no answer is under way, and no token is written any more."""
    scheduler = engine_of(app).scheduler
    connection = send(address, CHAT, {**LONG, "stream": stream})
    wait_until(lambda: scheduler.counts.running_questions == 1)
    assert len(engine_of(app).open_work) == 1
    connection.close()
    wait_until(lambda: scheduler.counts.running_questions == 0)
    written = scheduler.counts.tokens_written
    time.sleep(0.05)
    assert scheduler.counts.tokens_written == written
    assert not engine_of(app).open_work


def test_images_leave_the_next_forward_when_their_client_goes(app: FastAPI, address: str):
    """Others in the same forward go on, and get what they get alone."""
    scheduler = engine_of(app).scheduler
    other = {"prompt": "a ring", "seed": 1, "num_inference_steps": 40}
    path = "/v1/images/generations"
    alone = httpx.post(f"{address}{path}", json=other, timeout=120).json()["data"]
    connection = send(address, path, ENDLESS)
    wait_until(lambda: scheduler.counts.running_images == 2)
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(httpx.post, f"{address}{path}", json=other, timeout=120)
        wait_until(lambda: scheduler.counts.running_images == 3)
        connection.close()
        wait_until(lambda: scheduler.counts.running_images <= 1)
        data = beside.result().json()["data"]
    assert data[0]["seed"] == alone[0]["seed"]
    wait_until(lambda: scheduler.counts.running_images == 0)
    assert not engine_of(app).open_work


def slowly(engine: Engine) -> Engine:
    """Every step takes a while, so that 900 tokens never fit into two seconds."""
    engine.scheduler.on_batch = lambda _: time.sleep(0.02)
    return engine


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_cancelled(endless: JanusFlow, start: Any):
    client: TestClient = start(request_seconds=2.0)
    scheduler = slowly(client.app.state.engine).scheduler
    answer = client.post(CHAT, json=LONG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert answer.headers["x-should-retry"] == "false"
    events = client.post(CHAT, json={**LONG, "stream": True}).text.split("\n\n")
    assert events[-2].startswith("event: error\ndata: ")
    assert "timeout" in events[-2]
    wait_until(lambda: scheduler.counts.running_questions == 0)


def test_an_error_in_a_stream_is_an_exception_of_openais_client(endless: JanusFlow):
    app = create_app(endless, ServingConfig(port=0, request_seconds=2.0))
    slowly(app.state.engine)
    with listening(app) as url, OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        chunks = ask(client, max_tokens=900, stream=True)
        with pytest.raises(openai.APIError, match="Not finished within") as failed:
            list(chunks)
    assert failed.value.code == "timeout"


@pytest.mark.slow
def test_a_full_queue_says_when_to_come_again(endless: JanusFlow, start: Any):
    """Drawings are taken meanwhile: each kind has a line of its own."""
    client: TestClient = start(max_questions=1, max_waiting=1)
    scheduler = client.app.state.engine.scheduler
    with ThreadPoolExecutor() as pool:
        open_ones = [pool.submit(client.post, CHAT, json=LONG)]
        wait_until(lambda: scheduler.counts.running_questions == 1)
        open_ones.append(pool.submit(client.post, CHAT, json=LONG))
        wait_until(lambda: scheduler.counts.waiting_questions == 1)
        refused = client.post(CHAT, json=LONG)
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
        assert int(refused.headers["retry-after"]) >= 1
        drawing = {"prompt": "a star", "num_inference_steps": 2}
        assert client.post("/v1/images/generations", json=drawing).status_code == 200
        assert all(each.result().status_code == 200 for each in open_ones)


def test_several_choices_that_do_not_all_fit_leave_nothing_behind(endless: JanusFlow, start: Any):
    client: TestClient = start(max_questions=1, max_waiting=2)
    engine = client.app.state.engine
    assert client.post(CHAT, json={**LONG, "n": 9}).status_code == 429

    def is_idle() -> bool:
        counts = engine.scheduler.counts
        return counts.running_questions + counts.waiting_questions == 0

    wait_until(is_idle)
    assert not engine.open_work


def test_questions_are_answered_while_images_are_drawn(app: FastAPI, address: str, client: OpenAI):
    """Neither waits for the other to be done."""
    connection = send(address, "/v1/images/generations", ENDLESS)
    wait_until(lambda: engine_of(app).scheduler.counts.running_images == 2)
    assert text_of(ask(client)) is not None
    assert engine_of(app).scheduler.counts.running_images == 2
    connection.close()
    wait_until(lambda: engine_of(app).scheduler.counts.running_images == 0)


def test_a_bug_is_logged_and_told_without_its_details(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("of some secret")

    monkeypatch.setattr("janusflow.serving.chat.routes.prepare_messages", broken)
    answer = start().post(CHAT, json=LONG, headers={"X-Request-Id": "mine-1"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (500, "server_error")
    assert "mine-1" in error["message"]
    assert "secret" not in answer.text
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "of some secret" in JsonFormatter().format(record)


def test_out_of_memory_is_told_as_such(start: Any, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA out of memory (injected)")

    monkeypatch.setattr("janusflow.inference.answering.answers.choose_tokens", broken)
    answer = start().post(CHAT, json=LONG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "out_of_memory")


def test_a_request_has_one_line_in_the_log(start: Any, caplog: pytest.LogCaptureFixture):
    """With its id, that the answer has too, and the numbers of tokens; without what was said."""
    caplog.set_level(logging.INFO, logger="janusflow.serving")
    body = {"messages": [{"role": "user", "content": "A secret?"}], "max_tokens": 2}
    answer = start().post(CHAT, json=body, headers={"X-Request-Id": "mine-2"})
    assert answer.headers["x-request-id"] == "mine-2"
    (record,) = [each for each in caplog.records if each.getMessage() == "request"]
    line = json.loads(JsonFormatter().format(record))
    assert (line["request_id"], line["path"], line["status"]) == ("mine-2", CHAT, 200)
    assert line["prompt_tokens"] > 0
    assert line["seconds"] > 0
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize("given", ["", "a b", "a" * 200, "a\u00fc"])
def test_an_id_that_may_not_stand_in_a_log_is_replaced(start: Any, given: str):
    headers = {"X-Request-Id": given.encode("latin1")}
    assert start().get("/health", headers=headers).headers["x-request-id"].startswith("req_")


def test_errors_of_routes_have_openais_shape(start: Any):
    client: TestClient = start()
    assert client.get("/v1/nothing").json()["error"]["type"] == "not_found_error"
    assert client.get(CHAT).status_code == 405
    assert client.get(CHAT).json()["error"]["message"] == "Method Not Allowed"
    broken = client.post(CHAT, content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 400
    assert broken.json()["error"]["code"] == "json_invalid"


def test_metrics_count_what_was_done(endless: JanusFlow, start: Any):
    """By vLLM's names after our prefix; every application has its own."""
    client: TestClient = start()
    body = {"messages": QUESTION, "max_tokens": 5}
    for _ in range(2):
        client.post(CHAT, json=body)
    client.post("/v1/images/generations", json={"prompt": "a star", "num_inference_steps": 3})
    told = client.get("/metrics").text
    values = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in told.splitlines()}

    def value(name: str, **labels: str) -> float:
        given = ",".join(f'{k}="{v}"' for k, v in sorted({"model_name": "tiny", **labels}.items()))
        return float(values[f"janusflow:{name}{{{given}}}"])

    assert value("request_success_total", kind="chat", finished_reason="length") == 2
    assert value("generation_tokens_total") == 10
    assert value("images_total") == 1
    assert value("denoise_steps_total") == 3
    assert value("denoise_step_seconds_count", kind="images") == 3
    assert value("time_to_first_token_seconds_count", kind="chat") == 2
    assert value("step_batch_size_sum", kind="chat") == 10
    assert value("num_requests_running", kind="chat") == 0
    assert value("num_requests_waiting", kind="images") == 0
    assert value("prompt_tokens_total") > 0
    assert value("reuse_hits_total") > 0
    assert "process_resident_memory_bytes" in told
    assert "generation_tokens_total" in start().get("/metrics").text


@pytest.mark.slow
def test_a_server_that_drains_takes_nothing_new(endless: JanusFlow, start: Any):
    client: TestClient = start()
    engine = client.app.state.engine
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, CHAT, json=LONG)
        wait_until(lambda: engine.scheduler.counts.running_questions == 1)
        engine.is_draining = True
        refused = client.post(CHAT, json=LONG)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert client.get("/health").status_code == 503
        assert running.result().status_code == 200


def test_what_is_not_done_when_draining_ends_is_told_so(endless: JanusFlow, start: Any):
    client: TestClient = start()
    engine = client.app.state.engine
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, CHAT, json=LONG)
        wait_until(lambda: engine.scheduler.counts.running_questions == 1)
        engine.cancel_all()
        assert running.result().json()["error"]["code"] == "shutting_down"
