"""Seeds: a random one where none is given, and those of several candidates for one image."""

import secrets

from janusflow.config.errors import ConfigError

SEED_LIMIT = 2**32
"""Random seeds stay below this, so that people can type them again."""
LARGEST_SEED = 2**62
CANDIDATES_APART = 1_000_000
"""From one candidate's seed to the next one's: further than a call has images."""


def chosen(seed: int | None) -> int:
    """The seed given, or a random one."""
    if seed is None:
        return secrets.randbelow(SEED_LIMIT)
    if not 0 <= seed < LARGEST_SEED:
        raise ConfigError(f"seed={seed} is outside 0 to {LARGEST_SEED - 1}: use a smaller one.")
    return seed


def of_candidates(seed: int, number: int) -> list[int]:
    """Seeds of an image's candidates: the first has the image's own, and more keep the first."""
    return [seed + candidate * CANDIDATES_APART for candidate in range(number)]
