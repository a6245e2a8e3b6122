"""The three kinds of training samples (paper section 3.3), before they become token rows."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One exchange; only the answer is learnt."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class UnderstandingSample:
    """A picture and what is said about it.

    `are_independent` turns do not see one another: several conversations of one turn each that
    share the picture's tokens, as if the picture had been read again for every one.
    """

    pixel_values: Float[Tensor, "c y x"]
    turns: tuple[Turn, ...]
    are_independent: bool = False


@dataclass(frozen=True, kw_only=True)
class GenerationSample:
    """A prompt and the picture to draw: its scaled VAE latent, and its pixels for REPA.

    `seed` decides everything random about learning it: noise, time and whether the prompt is
    hidden. So a sample is the same in whichever process and batch it is learnt.
    """

    prompt: str
    latent: Float[Tensor, "c y x"]
    pixel_values: Float[Tensor, "c_pixel y_pixel x_pixel"]
    seed: int


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """Plain text; all of it is learnt."""

    text: str


Sample = UnderstandingSample | GenerationSample | TextSample
