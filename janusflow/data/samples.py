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
    """Images and what is said about them.

    An image stands where its placeholder is in the questions. Images that no question holds
    stand before the first, each on a line of its own.

    `are_independent` turns do not see one another: several conversations of one turn each that
    share the images' tokens, as if the images had been read again for every one.
    """

    images: tuple[Float[Tensor, "c y x"] | Float[Tensor, "p w"], ...]
    """Pixels, or the frozen tower's features where a cache holds these."""
    turns: tuple[Turn, ...]
    are_independent: bool = False
    system: str | None = None
    """What stands before the conversation, as a system prompt does; it is not learnt."""


@dataclass(frozen=True, kw_only=True)
class GenerationSample:
    """A prompt and the image to draw.

    `pixel_values` (in [-1, 1]) are what the VAE encodes and REPA aligns to; `latent` is their
    scaled latent and `features` are the frozen tower's, where they are known already. Pixels that
    nothing needs then may be missing.

    `images` are seen before the prompt, which has their placeholders: pixels, or the frozen tower's
    features. `reward` says of an image that the model drew how good it is, in [0, 1], among others
    of its prompt; it is learnt by preference then.

    `seed` decides everything random about learning it: noise, time and whether the prompt is
    hidden. So a sample is the same in whichever process and batch it is learnt.
    """

    prompt: str
    pixel_values: Float[Tensor, "c_pixel y_pixel x_pixel"] | None
    latent: Float[Tensor, "c y x"] | None = None
    features: Float[Tensor, "p w"] | None = None
    images: tuple[Float[Tensor, "c_seen y_seen x_seen"] | Float[Tensor, "p w"], ...] = ()
    reward: float | None = None
    seed: int


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """Plain text; all of it is learnt."""

    text: str


Sample = UnderstandingSample | GenerationSample | TextSample
"""Several kinds share a batch."""
