"""What a server is told at its start: limits, keys, who may call it."""

from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from math import isfinite

from janusflow.config.errors import ConfigError

KEY_VARIABLE = "JANUSFLOW_API_KEY"
"""Environment variable of API keys, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Settings of `janusflow serve`; the defaults are safe on a machine of one's own."""

    host: str = "127.0.0.1"
    """Address to listen on; others than loopback are reached from the network."""
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    """One of them must come with every request to /v1 and /metrics; none asks for none."""
    served_model_name: str | None = None
    """What clients call the model; None is its own name, of a folder the last part."""

    adapter_weights: dict[str, float] = field(default_factory=dict)
    """Of adapters that are served, by name; 1 for those that are not here."""

    max_images: int = 8
    """Images in one forward, over all requests."""
    max_questions: int = 8
    """Answers that grow side by side, over all requests."""
    max_waiting: int = 64
    """Drawings that wait, and likewise questions; one more is refused (429)."""
    tokens_per_step: int = 1
    """Tokens of every answer between two evaluations of the images."""
    reuse_bytes: int = 256 << 20
    """Memory for what was read of prompts and images, so that it is not read again; 0 is none."""
    request_seconds: float = 600.0
    """A request that takes longer is cancelled (504)."""
    drain_seconds: float = 30.0
    """On SIGTERM new requests are refused (503), and running ones have so long to finish."""

    max_body_bytes: int = 32 << 20
    max_pixels: int = 32_000_000
    """Of an image that a client sends."""
    max_images_read: int = 16
    """Images that a client may send in one request."""
    max_text: int = 32_768
    """Characters of one request's prompts or messages; the model's context may be shorter."""
    max_choices: int = 10
    """Images, or answers, of one request (`n`)."""
    max_best_of: int = 8
    """Candidates for each image."""
    max_steps: int = 200
    """Solver steps of an image."""

    allowed_hosts: tuple[str, ...] = ()
    """Names that the Host header may have; none: loopback's own on loopback, else any."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages on other servers that may call this one."""
    image_hosts: tuple[str, ...] = ()
    """Hosts that images may be fetched from; none: images come as data: URIs only."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            is_limit = isinstance(value, int | float) and each.name not in ("port", "reuse_bytes")
            if is_limit and not (isfinite(value) and value > 0):
                raise ConfigError(f"{each.name}={value}: wanted a number above 0.")
        if not 0 <= self.port < 1 << 16:
            raise ConfigError(f"port={self.port} is outside 0 to 65535: 0 takes any free one.")
        if self.reuse_bytes < 0:
            raise ConfigError(f"reuse_bytes={self.reuse_bytes} is negative: 0 is none.")
        if any(not key.strip() or not key.isascii() for key in self.api_keys):
            raise ConfigError(
                f"{len(self.api_keys)} API keys, one of them empty or not ASCII: change it."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
