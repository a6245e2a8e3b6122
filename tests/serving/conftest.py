"""Servers on a tiny random model: in this process, and behind a real socket."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openai import OpenAI
from starlette.testclient import TestClient

from janusflow.config.serving import ServingConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.app import create_app

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving_calls import listening
from tiny_model import tiny_janusflow

Start = Callable[..., TestClient]


@pytest.fixture(scope="session")
def jf() -> JanusFlow:
    return tiny_janusflow()


@pytest.fixture
def endless(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """Its answers are as long as they may be."""
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    return jf


@pytest.fixture
def start(jf: JanusFlow) -> Iterator[Start]:
    """Starts applications in this process, with settings; called by the name 127.0.0.1."""
    with ExitStack() as stack:

        def started(**settings: Any) -> TestClient:
            app = create_app(jf, ServingConfig(**settings))
            return stack.enter_context(TestClient(app, base_url="http://127.0.0.1:8000"))

        yield started


@pytest.fixture(scope="session")
def app(jf: JanusFlow) -> FastAPI:
    """With the settings that there are without any, on a free port."""
    return create_app(jf, ServingConfig(port=0))


@pytest.fixture(scope="session")
def address(app: FastAPI) -> Iterator[str]:
    """Of a server that serves it."""
    with listening(app) as url:
        yield url


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[OpenAI]:
    """OpenAI's own client, which tries nothing twice."""
    with OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as opened:
        yield opened
