"""Who may call the server, and how much may be sent: decided before anything is read.

Keys; names in the Host header, since a web page may let its own name point to 127.0.0.1 (DNS
rebinding); origins, since any web page may send requests to this machine; bytes of the body.
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from janusflow.config.serving import ServingConfig
from janusflow.serving.errors import ApiError, error_response

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MAX_BODIES = 8
"""So many of the largest bodies are held at once; beyond, requests are refused."""
PROTECTED = ("/v1/", "/metrics")
"""Beginnings of paths that want a key; the page, its files and /health show nothing of anyone."""


class Guard:
    """The layer that refuses requests by their headers and size.

    Args:
        app: what is guarded.
        config: says who may call.
    """

    def __init__(self, app: ASGIApp, config: ServingConfig) -> None:
        self.app = app
        self.config = config
        self._num_held = 0
        """Bytes of all bodies that are being read or answered."""
        self.keys = [key.encode() for key in config.api_keys]
        self.hosts = {host.lower() for host in config.allowed_hosts}
        if config.is_loopback:
            self.hosts |= {*LOOPBACK_NAMES, config.host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(headers)
            self._check_key(scope["path"], headers)
            length = headers.get("content-length", "")
            self._check_length(int(length) if length.isdecimal() else 0)
        except ApiError as error:
            Request(scope).state.log["error"] = error.detail
            await error_response(error)(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            number = len(message.get("body", b""))
            received += number
            self._num_held += number
            self._check_length(received)
            return message

        try:
            await self.app(scope, receive_limited, send)
        finally:
            self._num_held -= received

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        name = _hostname(f"//{host}")
        if self.hosts and name not in self.hosts:
            raise ApiError(
                403,
                f"Host {host!r:.80} is not this server's: call it by one of "
                f"{', '.join(sorted(self.hosts))}, or start it with --allowed-host.",
                code="host_not_allowed",
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self.config.cors_origins or "*" in self.config.cors_origins:
            return
        if origin.lower().partition("://")[2] != headers.get("host", "").lower():
            raise ApiError(
                403,
                f"Web pages of {origin!r:.80} may not call this server: start it with "
                "--cors-origin.",
                code="origin_not_allowed",
            )

    def _check_key(self, path: str, headers: Headers) -> None:
        if not self.keys or not path.startswith(PROTECTED):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip().encode() if scheme.lower() == "bearer" else b""
        # Every key is compared, each in constant time: how long it takes tells nothing.
        if not sum([hmac.compare_digest(key, known) for known in self.keys]):
            raise ApiError(
                401,
                "The API key is missing or wrong: send `Authorization: Bearer KEY`.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_length(self, length: int) -> None:
        if self._num_held > MAX_BODIES * self.config.max_body_bytes:
            raise ApiError(
                429,
                f"{self._num_held} bytes of other requests are being answered: try again later.",
                code="server_busy",
                headers={"Retry-After": "1"},
            )
        if length > self.config.max_body_bytes:
            raise ApiError(
                413,
                f"A body of {length} bytes or more: at most {self.config.max_body_bytes} are read. "
                "Send fewer or smaller images.",
                code="body_too_large",
            )


def _hostname(url: str) -> str | None:
    """The name in an address, lower case, without port; None if it has none or is broken."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
