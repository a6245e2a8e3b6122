"""How strongly a prompt is followed along the path: one weight, or a schedule of weights, as text.

| text | weight |
|---|---|
| `2` | 2 everywhere |
| `3@0.1-0.6` | 3 for times from 0.1 to 0.6 (0 is noise, 1 the image), no guidance elsewhere |
| `4..1` | falls from 4 at t=0 to 1 at t=1, in a straight line |
| `1..4@0-0.3+4@0.3-0.8` | several pieces: rises, stays, ends |

Weight 1 is no guidance: the unconditional branch is then not evaluated.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

from janusflow.config.errors import ConfigError

NUMBER = r"(-?\d+(?:\.\d+)?)"
PIECE = re.compile(rf"{NUMBER}(?:\.\.{NUMBER})?(?:@{NUMBER}-{NUMBER})?")
UNGUIDED = 1.0
LARGEST_WEIGHT = 1000.0
ROUNDING = 1e-6
"""Times so close to a bound are on it: a solver's times are float32, bounds are decimals."""


class GuidancePiece(NamedTuple):
    """Weights for times in [start, end), which change in a straight line."""

    first: float
    last: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, kw_only=True)
class GuidanceSchedule:
    """Pieces in order of time; between them there is no guidance."""

    pieces: tuple[GuidancePiece, ...]

    def __post_init__(self) -> None:
        for piece in self.pieces:
            if not max(abs(piece.first), abs(piece.last)) <= LARGEST_WEIGHT:
                raise ConfigError(
                    f"guidance from {piece.first:g} to {piece.last:g} is not within "
                    f"{LARGEST_WEIGHT:g}, beyond which velocities overflow. Use 1 for none, 2 as "
                    "the paper."
                )
            if not 0.0 <= piece.start < piece.end <= 1.0:
                raise ConfigError(
                    f"guidance from t={piece.start:g} to t={piece.end:g}: wanted 0 <= start < end "
                    "<= 1. Write e.g. 3@0.1-0.6; 0 is noise, 1 the image."
                )
        for piece, after in pairwise(self.pieces):
            if after.start < piece.end:
                raise ConfigError(
                    f"guidance up to t={piece.end:g}, then from t={after.start:g}: wanted pieces "
                    "in order of time that do not overlap."
                )

    @property
    def constant(self) -> float | None:
        """The weight if it is one for the whole path."""
        weight = self.pieces[0].first
        return weight if self.is_one_piece and weight == self.pieces[0].last else None

    @property
    def is_one_piece(self) -> bool:
        """Whether the first piece is the whole path, so that weights never jump."""
        return (self.pieces[0].start, self.pieces[0].end) == (0.0, 1.0)

    @property
    def is_guided(self) -> bool:
        """Whether any time is guided."""
        return any((piece.first, piece.last) != (UNGUIDED, UNGUIDED) for piece in self.pieces)

    def weight(self, t: float) -> float:
        """The weight at a time in [0, 1]; the end of the path belongs to the last piece."""
        for piece in self.pieces:
            ends_later = t + ROUNDING < piece.end or piece.end == 1.0
            if piece.start <= t + ROUNDING and ends_later:
                share = (t - piece.start) / (piece.end - piece.start)
                return piece.first + share * (piece.last - piece.first)
        return UNGUIDED


def schedule_of(guidance: float | str) -> GuidanceSchedule:
    """The weights that a number or a text stands for.

    Raises:
        ConfigError: it stands for none.
    """
    if isinstance(guidance, str):
        return GuidanceSchedule(pieces=tuple(map(_piece, guidance.split("+"))))
    if not isinstance(guidance, Real):
        raise ConfigError(f"guidance={guidance!r} is no weight. Use 1 for none, 2 as the paper.")
    weight = float(guidance)
    return GuidanceSchedule(pieces=(GuidancePiece(first=weight, last=weight),))


def read_guidance(said: float | str) -> float | str:
    """A number if it is one, else the text of a schedule: from what a person typed or a file holds.

    Raises:
        ConfigError: it is neither.
    """
    try:
        guidance: float | str = float(said)
    except ValueError:
        guidance = said
    schedule_of(guidance)
    return guidance


def _piece(text: str) -> GuidancePiece:
    found = PIECE.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"guidance={text!r}: wanted a weight such as 2, in an interval of time as 3@0.1-0.6, "
            "falling as 4..1, or several of these joined by +."
        )
    first, last, start, end = found.groups()
    return GuidancePiece(
        first=float(first),
        last=float(last or first),
        start=float(start or 0.0),
        end=float(end or 1.0),
    )
