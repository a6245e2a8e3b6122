"""Images on the web: from hosts that are named, at public addresses, within bounds."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from janusflow.config.errors import ImageError, PromptError
from janusflow.serving import remote_images
from janusflow.serving.remote_images import fetch_image, is_public

HOST = "images.example"


class Images(BaseHTTPRequestHandler):
    """Answers by the path; counts what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.headers['Host']}{self.path}")
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1/secret")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(b"x" * 2000 if self.path == "/long" else b"the image")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """A server that HOST stands for, and what is asked of it. Its address counts as public."""
    asked: list[str] = []
    served = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Images,), {"asked": asked}))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    real = socket.getaddrinfo

    def look_up(name: str, *more: Any, **others: Any) -> Any:
        return real("127.0.0.1" if name == HOST else name, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(remote_images, "is_public", lambda _: True)
    yield served.server_port, asked
    served.shutdown()
    served.server_close()


def fetch(url: str, *, hosts: tuple[str, ...] = (HOST,), max_bytes: int = 1000) -> bytes:
    return fetch_image(url, hosts=hosts, max_bytes=max_bytes)


def test_an_image_of_an_allowed_host_is_fetched(server: tuple[int, list[str]]):
    port, asked = server
    assert fetch(f"http://{HOST}:{port}/a.png?size=1") == b"the image"
    assert asked == [f"{HOST}:{port}/a.png?size=1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example:{}/a",
        "http://sub.images.example:{}/a",
        "http://images.example.evil:{}/a",
        "http://images.example@127.0.0.1:{}/a",
        "http://user@images.example:{}/a",
        "http://[::1/a",
        "http://images.example:99999/a",
    ],
)
def test_hosts_are_compared_exactly(server: tuple[int, list[str]], url: str):
    port, asked = server
    with pytest.raises(PromptError):
        fetch(url.format(port))
    assert not asked


def test_redirects_are_not_followed(server: tuple[int, list[str]]):
    port, asked = server
    with pytest.raises(ImageError, match="redirects are not followed"):
        fetch(f"http://{HOST}:{port}/redirect")
    assert len(asked) == 1


def test_size_and_status_are_looked_at(server: tuple[int, list[str]]):
    port, _ = server
    with pytest.raises(ImageError, match="more than 1000 bytes"):
        fetch(f"http://{HOST}:{port}/long")
    with pytest.raises(ImageError, match="status 404"):
        fetch(f"http://{HOST}:{port}/none")


def test_time_is_bounded(server: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_images, "SECONDS", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(ImageError, match="cannot be fetched"):
        fetch(f"http://{HOST}:{silent.getsockname()[1]}/a")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0"),
        *("fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::"),
    ],
)
def test_addresses_that_are_not_public_are_refused(monkeypatch: pytest.MonkeyPatch, address: str):
    """Even where only one of a host's addresses is such: the name may stand for any of them."""
    assert not is_public(address)
    entries = [(0, 0, 0, "", (each, 80)) for each in ("93.184.215.14", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    with pytest.raises(PromptError, match="not on the public network"):
        fetch(f"http://{HOST}/a")


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_of_the_public_network_are_taken(address: str):
    assert is_public(address)


def test_the_address_that_was_checked_is_connected_to(monkeypatch: pytest.MonkeyPatch):
    """The name is looked up once: a second look might give another address."""
    connected: list[Any] = []
    entries = [(0, 0, 0, "", ("93.184.215.14", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)

    def connect(address: Any, **_: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ImageError):
        fetch(f"https://{HOST}/a")
    assert connected == [("93.184.215.14", 443)]
