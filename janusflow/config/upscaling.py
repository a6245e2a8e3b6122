"""How images are made larger, as words: METHOD:FACTOR, such as lanczos:2."""

from collections.abc import Collection
from typing import NamedTuple

from janusflow.config.errors import ConfigError

FACTORS: dict[str, Collection[int]] = {
    "lanczos": range(2, 9),
    "realesrgan": (2, 3, 4),
    "realesrgan-x4plus": (4,),
    "refine": (2,),
}
"""What every method can do (inference/upscaling)."""


class Upscaling(NamedTuple):
    """One of FACTORS."""

    method: str
    factor: int

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.method}:{self.factor}"


KNOWN = [Upscaling(method, factor) for method, factors in FACTORS.items() for factor in factors]
NONE = "none"


def read_upscaling(text: str) -> Upscaling | None:
    """What the words mean; `none` leaves images as they are.

    Raises:
        ConfigError: there is no such method, or it has no such factor.
    """
    if text == NONE:
        return None
    for known in KNOWN:
        if known.text == text:
            return known
    ways = ", ".join(f"{method}:{'|'.join(map(str, by))}" for method, by in FACTORS.items())
    raise ConfigError(f"upscale={text!r} is unknown. Use {NONE} or one of: {ways}.")
