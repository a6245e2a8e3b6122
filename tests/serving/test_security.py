"""Safe by default: who may call, what may be sent, and what a client can never reach."""

import base64
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from janusflow.config.errors import ConfigError
from janusflow.config.serving import ServingConfig
from janusflow.serving import security

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 2}


def about(url: Any, kind: str = "image_url") -> dict[str, Any]:
    """A question about an image at some place."""
    part = {"type": kind, kind: {"url": url}}
    text = {"type": "text", "text": "What?"}
    return {**QUESTION, "messages": [{"role": "user", "content": [part, text]}]}


def data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return answer.json()["error"]


# ---- who may call --------------------------------------------------------------------------------


def test_only_this_machine_is_listened_to_by_default():
    assert ServingConfig().is_loopback
    assert ServingConfig(host="::1").is_loopback
    assert not ServingConfig(host="0.0.0.0").is_loopback
    assert not ServingConfig(host="example.org").is_loopback


def test_a_key_opens_what_is_protected_and_no_other_text_does(start: Any):
    client: TestClient = start(api_keys=("first", "second"))
    for key in ("first", "second"):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.post(CHAT, json=QUESTION, headers=headers).status_code == 200
        assert client.get("/metrics", headers=headers).status_code == 200
    for wrong in ("", "Bearer ", "Bearer firs", "Bearer first2", "Basic first", "Bearer \xfc"):
        answer = client.post(CHAT, json=QUESTION, headers={"Authorization": wrong.encode("latin1")})
        assert error_of(answer, 401)["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/metrics", "/v1/images/generations"):
        error_of(client.get(path), 401)
    assert client.get("/health").status_code == 200
    assert client.get("/").status_code == 200


def test_keys_are_compared_in_constant_time(start: Any, monkeypatch: pytest.MonkeyPatch):
    """Every key is, and each by hmac, also when the first one fits."""
    compared = []
    monkeypatch.setattr(security.hmac, "compare_digest", lambda a, b: compared.append(b) or a == b)
    client: TestClient = start(api_keys=("first", "second"))
    client.get("/v1/models", headers={"Authorization": "Bearer first"})
    assert compared == [b"first", b"second"]


def test_a_key_that_no_header_can_hold_is_refused():
    with pytest.raises(ConfigError, match="API keys"):
        ServingConfig(api_keys=("ключ",))


def test_names_that_are_not_the_machines_own_are_refused(start: Any):
    """DNS rebinding: a web page's own name points to 127.0.0.1."""
    client: TestClient = start()
    for host in ("127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example:80", "[::1", ""):
        error = error_of(client.get("/health", headers={"Host": host}), 403)
        assert error["code"] == "host_not_allowed"


def test_a_server_on_the_network_may_be_told_its_names(start: Any):
    anywhere: TestClient = start(host="0.0.0.0")
    assert anywhere.get("/health", headers={"Host": "any.example"}).status_code == 200
    named: TestClient = start(host="0.0.0.0", allowed_hosts=("Own.example",))
    assert named.get("/health", headers={"Host": "own.example:80"}).status_code == 200
    error_of(named.get("/health", headers={"Host": "any.example"}), 403)


def test_web_pages_of_others_may_not_call(start: Any):
    client: TestClient = start()
    own = {"Origin": "http://127.0.0.1:8000"}
    assert client.post(CHAT, json=QUESTION, headers=own).status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:8001", "http://[", ""):
        error = error_of(client.post(CHAT, json=QUESTION, headers={"Origin": origin}), 403)
        assert error["code"] == "origin_not_allowed"


def test_cors_is_off_until_an_origin_is_allowed(start: Any):
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    assert "access-control-allow-origin" not in start().options(CHAT, headers=asks).headers
    client: TestClient = start(cors_origins=("https://app.example",), api_keys=("key",))
    allowed = client.options(CHAT, headers=asks)
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    headers = {"Origin": "https://app.example", "Authorization": "Bearer key"}
    answer = client.post(CHAT, json=QUESTION, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    error_of(
        client.post(CHAT, json=QUESTION, headers={**headers, "Origin": "https://b.example"}), 403
    )


def test_a_body_must_say_that_it_is_json(start: Any):
    """A form of any web page can send text/plain without being asked for permission."""
    answer = start().post(CHAT, content=b'{"messages": []}', headers={"Content-Type": "text/plain"})
    error_of(answer, 400)


def test_the_page_may_load_nothing_but_its_own_files(start: Any):
    client: TestClient = start()
    for path in ("/", "/page/index.html"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    for path in (
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
    ):
        assert client.get(path).status_code == 404


# ---- what may be sent ----------------------------------------------------------------------------


def test_a_body_that_is_too_long_is_refused_before_it_is_read(start: Any):
    client: TestClient = start(max_body_bytes=1000)
    long = {"messages": [{"role": "user", "content": "a" * 2000}]}
    assert error_of(client.post(CHAT, json=long), 413)["code"] == "body_too_large"


def test_a_body_without_a_length_is_counted_as_it_comes(start: Any):
    client: TestClient = start(max_body_bytes=1000)
    chunks = (b" " * 400 for _ in range(5))
    headers = {"Content-Type": "application/json"}
    answer = client.post(CHAT, content=chunks, headers=headers)
    assert error_of(answer, 413)["code"] == "body_too_large"


def test_limits_of_a_request_are_kept(start: Any):
    client: TestClient = start(max_images_read=1, max_text=100)
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, format="PNG")
    image = about(data_uri(content.getvalue()))
    assert client.post(CHAT, json=image).status_code == 200
    two = {**image, "messages": image["messages"] * 2}
    assert "2 images" in error_of(client.post(CHAT, json=two), 400)["message"]
    long = {**QUESTION, "messages": [{"role": "user", "content": "a" * 101}]}
    assert "101 characters" in error_of(client.post(CHAT, json=long), 400)["message"]


def bomb(width: int, height: int) -> bytes:
    """A small PNG file that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checked

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_images_of_too_many_pixels_are_not_decoded(start: Any):
    answer = start(max_pixels=10_000).post(CHAT, json=about(data_uri(bomb(101, 100))))
    assert "more than 10000 pixels" in error_of(answer, 400)["message"]
    error_of(start().post(CHAT, json=about(data_uri(bomb(60_000, 60_000)))), 400)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(start: Any, tmp_path: Path):
    trap = tmp_path / "opened"
    error_of(start().post(CHAT, json=about(data_uri(pickle.dumps(Trap(trap))))), 400)
    assert not trap.exists()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """An image that lies on the server's machine."""
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    return tmp_path / "secret.png"


@pytest.mark.parametrize(
    "form", ["{}", "file://{}", "FILE://{}", "file:{}", "//localhost{}", " {}"]
)
@pytest.mark.parametrize("kind", ["image_url", "image", "input_image"])
def test_no_file_of_the_machine_is_opened(
    start: Any, secret: Path, monkeypatch: pytest.MonkeyPatch, form: str, kind: str
):
    client: TestClient = start()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"opened {path}"))
    error_of(client.post(CHAT, json=about(form.format(secret), kind)), 400)
    for key in ("image", "path", "url", "base64"):
        part = {"type": "image", key: form.format(secret)}
        body = {**QUESTION, "messages": [{"role": "user", "content": [part]}]}
        error_of(client.post(CHAT, json=body), 400)


def test_images_on_the_web_are_off_until_a_host_is_allowed(
    start: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    error = error_of(start().post(CHAT, json=about("https://example.org/a.png")), 400)
    assert "--allow-image-hosts" in error["message"]
