"""Token ids the model needs from a tokenizer: where texts begin and end, and where pictures sit."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """Defaults are the release's ids, of which those of the picture tags are assumed (see docs)."""

    bos: int = 100000
    eos: int = 100001
    pad: int = 100001
    image: int = 100015
    image_start: int = 100017
    image_end: int = 100018
