"""What mini knows, for whoever draws with it: which prompts are beyond it, and whom to believe.

`janusflow.load("mini")` hands this module to the pipeline (inference/drawing/best_of.py), which
itself knows no words.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from janusflow.mini.language import captions, words
from janusflow.mini.language.questions import ask_all
from janusflow.mini.language.wordings import WORDINGS
from janusflow.mini.language.words import LANGUAGES, plural
from janusflow.mini.scenes.naming import named_objects
from janusflow.mini.scenes.scene import COLOURS, SHAPES, SIZES, TONES, sample_scene

MAX_DESCRIPTION_TOKENS = 96
NUM_QUESTIONS = 4
"""About what a prompt asks for."""
KNOWN = (
    f"mini knows {len(SHAPES)} shapes ({', '.join(SHAPES)}) in {len(COLOURS)} colours "
    f"({', '.join(COLOURS)}), in English and Korean"
)
ENGLISH = re.compile(r"[^\W\d_가-힣]+")
KOREAN = re.compile(r"[가-힣]+")
COMMON = "a an the and with of is are there on in at to left right please me some two colour color"
PARTICLES = "은 는 이 가 을 를 과 와 의 에 에는 에서 으로 로 도 하고 개 색 있는 있고 있어요 인 이고"
"""What may follow a Korean word, beside other words."""


def limits(prompt: str) -> str | None:
    """One line that says what mini knows, if the prompt has words that mini has not learnt."""
    prompt = unicodedata.normalize("NFC", prompt)
    strange = [word for word in ENGLISH.findall(prompt.lower()) if word not in ENGLISH_WORDS]
    strange += [word for word in KOREAN.findall(prompt) if not KOREAN_WORD.fullmatch(word)]
    if not strange:
        return None
    named = ", ".join(repr(word) for word in dict.fromkeys(strange[:3]))
    return f"{prompt[:60]!r}: {KNOWN}, and not {named}; the image may show anything."


def shows_objects(ask: Callable[..., Any], image: Image.Image, prompt: str) -> bool:
    """Whether a description of the image names the coloured shapes of the prompt and no others.

    False, and nothing is asked, if the prompt names none.
    """
    for language in LANGUAGES:
        wanted = named_objects(prompt, language=language)
        if wanted:
            question = WORDINGS[language]["description"][0]
            told = ask(image, question, max_new_tokens=MAX_DESCRIPTION_TOKENS)
            return named_objects(str(told), language=language) == wanted
    return False


def prompts(number: int, *, seed: int) -> list[tuple[str, list[str]]]:
    """Captions of scenes as mini learnt to draw them, with questions; the languages by turns."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(number):
        scene, language = sample_scene(rng), LANGUAGES[index % len(LANGUAGES)]
        asked = ask_all(scene, rng, language=language)
        some = rng.choice(len(asked), min(NUM_QUESTIONS, len(asked)), replace=False)
        caption = captions.caption(scene, rng, language=language)
        found.append((caption, [asked[place].text for place in some]))
    return found


def _texts(value: Any) -> Iterator[str]:
    """All words in constants: names, and templates that captions are made from."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _vocabulary() -> str:
    """What is said in captions: the upper-case constants of both modules, and the scenes' names."""
    constants = [
        value
        for module in (words, captions)
        for name, value in vars(module).items()
        if name.isupper()
    ]
    shapes = [*SHAPES, *map(plural, SHAPES)]
    return " ".join(_texts([constants, shapes, COLOURS, SIZES, TONES, COMMON, PARTICLES])).lower()


ENGLISH_WORDS = set(ENGLISH.findall(_vocabulary()))
KOREAN_WORD = re.compile(
    f"(?:{'|'.join(sorted(set(KOREAN.findall(_vocabulary())), key=len, reverse=True))})+"
)
