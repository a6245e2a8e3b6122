"""Seeds: a random one where none is given, and those of several candidates for one image."""

import operator
import secrets

from janusflow.config.errors import ConfigError

SEED_LIMIT = 2**32
"""Random seeds stay below this, so that people can type them again."""
LARGEST_SEED = 2**62
CANDIDATES_APART = 1_000_000
"""From one candidate's seed to the next one's: further than a call has images. The first candidate
has the image's own, so that more candidates keep the first."""


def chosen(seed: int | None) -> int:
    """The seed given, numpy's whole numbers included, or a random one.

    Raises:
        ConfigError: it is no whole number, or outside the range.
    """
    if seed is None:
        return secrets.randbelow(SEED_LIMIT)
    try:
        number = operator.index(seed)
    except TypeError:
        raise ConfigError(f"seed={seed!r}: wanted a whole number, such as 1.") from None
    if not 0 <= number < LARGEST_SEED:
        raise ConfigError(f"seed={seed} is outside 0 to {LARGEST_SEED - 1}: use a smaller one.")
    return number
