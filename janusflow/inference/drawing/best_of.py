"""The best of several drawings: the model itself is asked how well each shows what was wanted."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from PIL import Image

from janusflow.mini.naming import named_objects
from janusflow.mini.wordings import WORDINGS
from janusflow.mini.words import LANGUAGES

Scorer: TypeAlias = Callable[[Image.Image, str], float]
"""From an image and its prompt to how well it shows the prompt: more is better."""
MAX_DESCRIPTION_TOKENS = 96


@runtime_checkable
class Answerer(Protocol):
    """The part of `janusflow.JanusFlow` that judges."""

    def ask(self, images: Image.Image, question: str, *, max_new_tokens: int) -> str | list[str]:
        """Answer a question about an image."""
        ...

    def log_likelihood(self, images: Image.Image, question: str, answer: str) -> float:
        """Natural logarithm of the probability of an answer."""
        ...


def own_judgement(jf: Answerer) -> Scorer:
    """Score by what the model says of an image: the chance of a yes, and 1 for the right objects.

    The objects count where a prompt names coloured shapes: `mini` describes its images more
    reliably than it says yes or no (docs/drawing.md has numbers). Scores of different prompts
    cannot be compared.
    """
    return lambda image, prompt: (
        names_the_same(jf, image, prompt) + chance_of_yes(jf, image, prompt)
    )


def chance_of_yes(jf: Answerer, image: Image.Image, prompt: str) -> float:
    """How likely yes is, of yes and no, when asked whether the image shows the prompt."""
    question = f"Does the picture show {prompt.strip().rstrip('.?!')}?"
    yes, no = (jf.log_likelihood(image, question, answer) for answer in ("yes", "no"))
    return 1 / (1 + math.exp(min(no - yes, 700)))  # exp of more overflows


def names_the_same(jf: Answerer, image: Image.Image, prompt: str) -> bool:
    """Whether a description of the image names the coloured shapes of the prompt and no others.

    False, and nothing is asked, if the prompt names none.
    """
    for language in LANGUAGES:
        wanted = named_objects(prompt, language=language)
        if wanted:
            question = WORDINGS[language]["description"][0]
            told = jf.ask(image, question, max_new_tokens=MAX_DESCRIPTION_TOKENS)
            return named_objects(str(told), language=language) == wanted
    return False


def best(candidates: Sequence[Image.Image], prompt: str, scorer: Scorer) -> Image.Image:
    """Of one image's candidates the best, the first of those that score alike.

    The scorer is asked once about every candidate, and not at all about a lone one.
    """
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda candidate: scorer(candidate, prompt))
