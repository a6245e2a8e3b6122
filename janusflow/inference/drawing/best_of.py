"""The best of several drawings: the model itself is asked how well each shows what was wanted."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

Scorer: TypeAlias = Callable[[Image.Image, str], float]
"""From an image and its prompt to how well it shows the prompt: more is better."""
Ask: TypeAlias = Callable[..., str | list[str]]
"""`JanusFlow.ask`."""


@runtime_checkable
class Answerer(Protocol):
    """The part of `janusflow.JanusFlow` that judges."""

    def ask(self, images: Image.Image, question: str, *, max_new_tokens: int) -> str | list[str]:
        """Answer a question about an image."""
        ...

    def log_likelihood(self, images: Image.Image, question: str, answer: str) -> float:
        """Natural logarithm of the probability of an answer."""
        ...


@runtime_checkable
class Knowledge(Protocol):
    """What a model that knows only a few words brings along (janusflow/mini/knowledge.py)."""

    def limits(self, prompt: str) -> str | None:
        """One line that says what the model knows, if the prompt asks for something else."""
        ...

    def shows_objects(self, ask: Ask, image: Image.Image, prompt: str) -> bool:
        """Whether a description of the image names the prompt's objects and no others."""
        ...

    def prompts(self, number: int, *, seed: int) -> list[tuple[str, list[str]]]:
        """Prompts of what the model knows, with questions about what they ask for."""
        ...


@runtime_checkable
class Pipeline(Answerer, Protocol):
    """The part of `janusflow.JanusFlow` that draws."""

    model: JanusFlowForConditionalGeneration
    processor: JanusFlowProcessor
    vae: AutoencoderKL
    name: str
    knowledge: Knowledge | None
    scorer: Scorer | None
    plan: Callable[[Sequence[str], Sequence[int]], list[str]]

    @property
    def image_size(self) -> int:
        """Rows and columns of a drawn image, in pixels."""
        ...


def own_judgement(jf: Answerer, knowledge: Knowledge | None = None) -> Scorer:
    """Score by what the model says of an image: the chance of a yes, and 1 for the right objects.

    The objects count for models with `knowledge`: `mini` describes its images more reliably than
    it says yes or no (docs/drawing.md has numbers). Scores of different prompts cannot be compared.
    """

    def score(image: Image.Image, prompt: str) -> float:
        objects = knowledge is not None and knowledge.shows_objects(jf.ask, image, prompt)
        return objects + chance_of_yes(jf, image, prompt)

    return score


def chance_of_yes(jf: Answerer, image: Image.Image, prompt: str) -> float:
    """How likely yes is, of yes and no, when asked whether the image shows the prompt."""
    question = f"Does the picture show {prompt.strip().rstrip('.?!')}?"
    yes, no = (jf.log_likelihood(image, question, answer) for answer in ("yes", "no"))
    return 1 / (1 + math.exp(min(no - yes, 700)))  # exp of more overflows


def choose(jf: Pipeline, candidates: Sequence[Image.Image]) -> Image.Image:
    """Of one image's candidates the best, the first of those that score alike.

    The scorer is asked once about every candidate.
    """
    scorer, prompt = jf.scorer or own_judgement(jf, jf.knowledge), candidates[0].info["prompt"]
    return max(candidates, key=lambda candidate: scorer(candidate, prompt))
