"""The page in headless Chromium, served by the real server with mini."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

import janusflow
from janusflow.config.serving import ServingConfig
from janusflow.inference.pipeline import JanusFlow

sys.path.insert(0, str(Path(__file__).parents[2]))

from page_visitor import CHROMIUM, Invite, Site, Visitor, chromium, come, serving


@pytest.fixture(scope="session")
def mini() -> JanusFlow:
    return janusflow.load("mini")


@pytest.fixture(scope="module")
def site(mini: JanusFlow) -> Iterator[Site]:
    with serving(mini, ServingConfig()) as served:
        yield served


@pytest.fixture
def other_site(mini: JanusFlow) -> Callable[[ServingConfig], AbstractContextManager[Site]]:
    """Starts one with other settings for the length of a block."""
    return lambda config: serving(mini, config)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Skipped loudly without Chromium; a failure where JANUSFLOW_REQUIRE_BROWSER is set."""
    if CHROMIUM is None:
        message = "THE PAGE IS NOT TESTED: no chromium on the PATH; install it"
        if os.environ.get("JANUSFLOW_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    with chromium() as launched:
        yield launched


@pytest.fixture
def invite(browser: Browser, site: Site) -> Iterator[Invite]:
    """Lets visitors come, and sees to it that nothing went wrong in their pages."""
    visitors: list[Visitor] = []

    def invited(url: str = site.url, **options: Any) -> Visitor:
        visitors.append(come(browser, url, **options))
        return visitors[-1]

    yield invited
    troubles = [trouble for visitor in visitors for trouble in visitor.troubles]
    for visitor in visitors:
        visitor.context.close()
    assert not troubles


@pytest.fixture
def visitor(invite: Invite) -> Visitor:
    return invite()
