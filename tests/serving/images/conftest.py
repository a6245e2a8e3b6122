"""A client that sends what OpenAI's would not."""

from collections.abc import Iterator

import httpx2 as httpx
import pytest


@pytest.fixture(scope="session")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60.0) as opened_client:
        yield opened_client
