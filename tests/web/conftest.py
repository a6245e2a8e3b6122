"""The browser page put together, its modules in node, and the page in headless Chromium."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from onnx_folders import exported_mini

WEB = Path(__file__).parents[2] / "docs" / "web"
BROWSERS = ("chromium", "chromium-browser", "chrome")


def not_tested(what: str, lacking: str) -> NoReturn:
    """Skip loudly; fail where JANUSFLOW_REQUIRE_BROWSER says that nothing may lack."""
    message = f"{what} NOT TESTED: no {lacking} on the PATH; install it"
    if os.environ.get("JANUSFLOW_REQUIRE_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def node() -> Callable[..., Any]:
    """Runs a line of JavaScript over some data: `node("random.js", "m.f(data)", data)`."""
    program = shutil.which("node")
    if program is None:
        not_tested("THE PAGE'S MODULES ARE", "node")

    def run(module: str, expression: str, data: Any, *, root: Path = WEB) -> Any:
        script = f"""
            import fs from "node:fs";
            import * as m from {json.dumps((root / "src" / module).as_uri())};
            const data = JSON.parse(fs.readFileSync(0, "utf-8"));
            console.log(JSON.stringify(await ({expression})));
        """
        done = subprocess.run(
            [program, "--input-type=module", "--eval", script],
            input=json.dumps(data),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as docs/web/build.py makes it."""
    if shutil.which("npm") is None:
        not_tested("THE PAGE IS", "npm")
    spec = importlib.util.spec_from_file_location("build_page", WEB / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_page)
    dist = tmp_path_factory.mktemp("web") / "dist"
    build_page.build(dist, exported=exported_mini())
    return dist


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, or no answer at all."""

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        if cast(Server, self.server).is_gone:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            super().do_GET()


class Server(ThreadingHTTPServer):
    """On loopback; while it is gone, connections end without an answer."""

    daemon_threads = True
    is_gone = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    """Serves the page."""
    server = Server(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system. A module's own: Playwright keeps an event loop while it is open."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        not_tested("THE PAGE IS", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()
