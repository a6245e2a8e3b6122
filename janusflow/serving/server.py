"""uvicorn with an orderly end: on SIGTERM running requests finish, and new ones are refused."""

import logging
import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from janusflow.config.errors import ConfigError
from janusflow.serving.engine import Engine

log = logging.getLogger(__name__)
CLOSING_SECONDS = 5
"""For connections to take what was told at the end."""


def listen(host: str, port: int) -> socket.socket:
    """A socket for `Server.run`: a port that is taken is told before a model is loaded.

    Raises:
        ConfigError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"{host}, port {port}: {error.strerror or error}. Choose another --port or --host."
        ) from None


class Server(uvicorn.Server):
    """Runs an application of `create_app` until a signal; a second signal ends it at once."""

    def __init__(self, app: FastAPI) -> None:
        self._engine: Engine = app.state.engine
        config = self._engine.config
        super().__init__(
            uvicorn.Config(
                app,
                host=config.host,
                port=config.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=CLOSING_SECONDS,
            )
        )
        self._drain_until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self._drain_until is not None:
            super().handle_exit(sig, frame)
            return
        seconds = self._engine.config.drain_seconds
        self._engine.is_draining = True
        self._drain_until = time.monotonic() + seconds
        log.info("draining", extra={"fields": {"signal": sig, "at_most_seconds": seconds}})

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: called ten times a second."""
        if self._drain_until is not None:
            if time.monotonic() > self._drain_until:
                self._engine.cancel_all()
            self.should_exit = self.should_exit or not self._engine.open_work
        return await super().on_tick(counter)
