"""The command as a process: it starts, drains on SIGTERM, and starts again after any end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from tiny_model import save_tiny
from typer.testing import CliRunner

from janusflow.cli.main import build_app

LONG = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 900, "stream": True}
SECONDS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was saved; its answers have no end."""
    saved = save_tiny(tmp_path_factory.mktemp("model") / "tiny")
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"eos_token_id": 271}))
    return saved


@contextmanager
def process(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[Any, str, list[str]]]:
    """`janusflow serve` on a free port: the process, its address, and the lines it has written."""
    command = [sys.executable, "-m", "janusflow.cli.main", "serve", "--model", str(folder)]
    port = port or free_port()
    served = subprocess.Popen(
        [*command, "--port", str(port), *options], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    lines: list[str] = []
    assert served.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(served.stderr), daemon=True)
    reader.start()
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, served)
        yield served, address, lines
    finally:
        served.kill()
        served.wait(SECONDS)
        reader.join(SECONDS)
        served.stderr.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(address: str, served: Any) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert served.poll() is None, "the server has ended"
        try:
            httpx.get(f"{address}/health", timeout=SECONDS).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server has not started")


@pytest.mark.slow
def test_on_sigterm_running_answers_are_finished_and_new_ones_refused(folder: Path):
    long_enough = {**LONG, "max_tokens": 200}
    with process(folder, "--drain-seconds", "100") as (served, address, lines):
        url = f"{address}/v1/chat/completions"
        with httpx.stream("POST", url, json=long_enough, timeout=SECONDS) as answer:
            events = answer.iter_lines()
            assert next(events).startswith("data: ")
            served.send_signal(signal.SIGTERM)
            refused = httpx.Response(200)
            while refused.status_code == 200:  # until the signal has come
                refused = httpx.get(f"{address}/health", timeout=SECONDS)
            assert refused.status_code == 503
            assert httpx.post(url, json=LONG, timeout=SECONDS).status_code == 503
            assert [line for line in events if line][-1] == "data: [DONE]"
        assert served.wait(SECONDS) == 0
    assert not any("Traceback" in line for line in lines)
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert any(each["message"] == "draining" for each in told)


@pytest.mark.slow
def test_what_takes_longer_than_draining_is_told_so(folder: Path):
    with process(folder, "--drain-seconds", "0.01") as (served, address, _):
        url = f"{address}/v1/chat/completions"
        with httpx.stream("POST", url, json={**LONG, "n": 8}, timeout=SECONDS) as answer:
            events = answer.iter_lines()
            assert next(events).startswith("data: ")
            served.send_signal(signal.SIGTERM)
            rest = [line for line in events if line]
        assert rest[-2] == "event: error"
        assert "shutting_down" in rest[-1]
        assert served.wait(SECONDS) == 0


@pytest.mark.slow
def test_a_killed_server_starts_again_at_the_same_port(folder: Path):
    question = {**LONG, "max_tokens": 3, "stream": False}
    with process(folder) as (served, address, _):
        path = f"{address}/v1/chat/completions"
        before = httpx.post(path, json=question, timeout=SECONDS).json()["choices"]
        served.kill()
        served.wait(SECONDS)
        with process(folder, port=int(address.rpartition(":")[2])) as (_, again, _):
            path = f"{again}/v1/chat/completions"
            assert httpx.post(path, json=question, timeout=SECONDS).json()["choices"] == before


@pytest.mark.slow
def test_a_server_that_anyone_may_use_says_so(folder: Path):
    with process(folder, "--host", "0.0.0.0") as (_, _, lines):
        assert any("WARNING" in line and "--api-key" in line for line in lines)
    with process(folder, "--host", "0.0.0.0", "--api-key", "key") as (_, address, lines):
        assert httpx.get(f"{address}/v1/models", timeout=SECONDS).status_code == 401
    assert not any("WARNING" in line for line in lines)
    assert not any('"key"' in line for line in lines)


def test_help_shows_how_to_start():
    told = CliRunner().invoke(
        build_app({"serve": "janusflow.cli.serve", "chat": "janusflow.cli.chat"}),
        ["serve", "--help"],
    )
    assert told.exit_code == 0
    assert "janusflow serve --model" in told.output


def test_a_port_that_is_taken_is_told_in_one_line_before_a_model_is_loaded():
    app = build_app({"serve": "janusflow.cli.serve", "chat": "janusflow.cli.chat"})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = CliRunner().invoke(app, ["serve", "--port", port, "--model", "no-such-folder"])
    assert told.exit_code == 1
    assert told.output.splitlines() == [told.output.strip()]
    assert f"port {port}" in told.output
    assert "--port" in told.output


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "janusflow.serving.app", None)
    app = build_app({"serve": "janusflow.cli.serve", "chat": "janusflow.cli.chat"})
    told = CliRunner().invoke(app, ["serve"])
    assert told.exit_code == 1
    assert "pip install 'janusflow[serve]'" in told.output
