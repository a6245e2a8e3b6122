"""Names of things in English and Korean, and the grammar that joins them.

The first entry of each tuple is the canonical name, the only one used in answers; the others
are what people also say and occur in prompts and questions. Korean templates write a particle
as "[은/는]": `with_particles` keeps the form that the syllable before it asks for.
"""

import re
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

from janusflow.mini.scenes.scene import (
    Background,
    BackgroundKind,
    Colour,
    Relation,
    SceneObject,
    Shape,
    Size,
    Tone,
)

T = TypeVar("T")
Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")

KOREAN_SHAPES: dict[Shape, tuple[str, ...]] = {
    "circle": ("원", "동그라미"),
    "square": ("사각형", "네모", "정사각형"),
    "triangle": ("삼각형", "세모"),
    "star": ("별",),
    "heart": ("하트",),
    "diamond": ("마름모", "다이아몬드"),
    "cross": ("십자가",),
    "ring": ("고리",),
    "crescent": ("초승달",),
}
KOREAN_COLOURS: dict[Colour, tuple[str, ...]] = {
    "red": ("빨간", "빨간색"),
    "orange": ("주황색", "주황"),
    "yellow": ("노란", "노란색"),
    "green": ("초록색", "초록", "녹색"),
    "cyan": ("청록색", "청록"),
    "blue": ("파란", "파란색"),
    "purple": ("보라색", "보라"),
    "pink": ("분홍색", "분홍"),
    "brown": ("갈색",),
    "black": ("검은", "검은색"),
}
"""As they stand before a noun."""
ENGLISH_SIZES: dict[Size, tuple[str, ...]] = {
    "small": ("small", "little"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big"),
}
KOREAN_SIZES: dict[Size, str] = {
    "small": "작은",
    "medium": "중간 크기의",
    "large": "큰",
}
KOREAN_SIZE_ANSWERS: dict[Size, str] = {
    "small": "작음",
    "medium": "중간",
    "large": "큼",
}
KOREAN_TONES: dict[Tone, str] = {
    "white": "흰색",
    "light grey": "연한 회색",
    "cream": "크림색",
    "pale blue": "연한 파란색",
    "pale green": "연한 초록색",
}
KOREAN_COUNTS = ("", "한", "두", "세", "네")
ENGLISH_COUNTS = ("", "one", "two", "three", "four")
KOREAN_RELATIONS: dict[Relation, str] = {
    "left": "왼쪽",
    "right": "오른쪽",
    "above": "위",
    "below": "아래",
}
ENGLISH_RELATIONS: dict[Relation, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "under"),
}
KOREAN_POSITIONS: dict[str, str] = {
    "top left": "왼쪽 위",
    "top": "위쪽",
    "top right": "오른쪽 위",
    "left": "왼쪽",
    "centre": "가운데",
    "right": "오른쪽",
    "bottom left": "왼쪽 아래",
    "bottom": "아래쪽",
    "bottom right": "오른쪽 아래",
}
ENGLISH_PLACES: dict[str, tuple[str, ...]] = {
    "top left": ("in the top left", "in the top left corner"),
    "top": ("at the top",),
    "top right": ("in the top right", "in the top right corner"),
    "left": ("on the left",),
    "centre": ("in the centre", "in the center", "in the middle"),
    "right": ("on the right",),
    "bottom left": ("in the bottom left", "in the bottom left corner"),
    "bottom": ("at the bottom",),
    "bottom right": ("in the bottom right", "in the bottom right corner"),
}
ENGLISH_FRAMES = (
    "a picture of {scene}",
    "an image of {scene}",
    "a drawing of {scene}",
    "a picture with {scene}",
    "a simple picture showing {scene}",
)
ENGLISH_DRAW_FRAMES = (
    "draw {scene}",
    "please draw {scene}",
    "paint {scene}",
    "can you draw {scene}?",
)
KOREAN_FRAMES = (
    "{scene} 그림",
    "{scene}[이/가] 있는 그림",
    "{scene}[을/를] 그린 그림",
    "{scene}[이/가] 있다",
    "{scene}[이/가] 있어요",
)
KOREAN_DRAW_FRAMES = (
    "{scene} 그려 줘",
    "{scene}[을/를] 그려 줘",
    "{scene}[을/를] 그려 주세요",
    "{scene}[을/를] 그려 줄래?",
)
ENGLISH_BACKGROUNDS: dict[BackgroundKind, str] = {
    "plain": "a {first} background",
    "stripes": "a {first} and {last} striped background",
    "dots": "a {first} background with {last} dots",
    "checks": "a {first} and {last} checked background",
    "gradient": "a background fading from {first} to {last}",
}
KOREAN_BACKGROUNDS: dict[BackgroundKind, str] = {
    "plain": "{first} 배경",
    "stripes": "{first}[과/와] {last} 줄무늬 배경",
    "dots": "{first}[과/와] {last} 물방울무늬 배경",
    "checks": "{first}[과/와] {last} 체크무늬 배경",
    "gradient": "{first}에서 {last}으로 변하는 배경",
}
OPPOSITE: dict[Relation, Relation] = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
}
SYNONYM_PROBABILITY = 0.2


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def with_particles(text: str) -> str:
    """Resolve every "[은/는]": the first form after a final consonant, the second otherwise."""

    def choose(match: re.Match[str]) -> str:
        before, closed, open_ = match.groups()
        return before + (closed if _has_final_consonant(before) else open_)

    return re.sub(r"(.)\[([^/\]]*)/([^\]]*)\]", choose, text)


def fill(template: str, words: dict[str, str]) -> str:
    """Put words in a template's {slots}, then resolve its particles."""
    for slot, word in words.items():
        template = template.replace("{" + slot + "}", word)
    return with_particles(template)


def with_article(noun: str) -> str:
    """Prefix "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(shape: str) -> str:
    """Give the English plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def shape_name(shape: Shape, language: Language, rng: np.random.Generator | None = None) -> str:
    """Name a shape: canonically, or with an rng now and then by a synonym."""
    return shape if language == "en" else _name(KOREAN_SHAPES[shape], rng)


def colour_name(colour: Colour, language: Language, rng: np.random.Generator | None = None) -> str:
    """Name a colour as it stands before a noun: canonically, or with an rng by a synonym too."""
    return colour if language == "en" else _name(KOREAN_COLOURS[colour], rng)


def colour_answer(colour: Colour, language: Language) -> str:
    """Name a colour as an answer on its own."""
    if language == "en":
        return colour
    name = KOREAN_COLOURS[colour][0]
    return name if name.endswith("색") else name + "색"


def size_answer(size: Size, language: Language) -> str:
    """Name a size as an answer on its own."""
    return size if language == "en" else KOREAN_SIZE_ANSWERS[size]


def noun(
    thing: SceneObject,
    language: Language,
    *,
    count: int = 1,
    sized: bool = False,
    rng: np.random.Generator | None = None,
) -> str:
    """Name an object without article or number: "small red circle(s)", "작은 빨간 원"."""
    colour = colour_name(thing.colour, language, rng)
    shape = shape_name(thing.shape, language, rng)
    if language == "en":
        size = _name(ENGLISH_SIZES[thing.size], rng)
        shape = plural(shape) if count > 1 else shape
    else:
        size = KOREAN_SIZES[thing.size]
    return " ".join([size, colour, shape] if sized else [colour, shape])


def join(phrases: list[str], language: Language, *, conjunction: str = "[과/와]") -> str:
    """List phrases: "a, b and c"; "a, b와 c" (the Korean conjunction may be another)."""
    if len(phrases) == 1:
        return phrases[0]
    start, last = ", ".join(phrases[:-1]), phrases[-1]
    if language == "en":
        return f"{start} and {last}"
    return with_particles(f"{start}{conjunction} {last}")


def background_phrase(background: Background, language: Language) -> str:
    """Name a background: "a white background", "흰색과 크림색 줄무늬 배경"."""
    first, last = background.tones[0], background.tones[-1]
    if language == "en":
        return fill(ENGLISH_BACKGROUNDS[background.kind], {"first": first, "last": last})
    words = {"first": KOREAN_TONES[first], "last": KOREAN_TONES[last]}
    return fill(KOREAN_BACKGROUNDS[background.kind], words)


def _name(names: tuple[str, ...], rng: np.random.Generator | None) -> str:
    if rng is None or len(names) == 1 or rng.random() >= SYNONYM_PROBABILITY:
        return names[0]
    return pick(rng, names[1:])


def _has_final_consonant(character: str) -> bool:
    """Whether a Hangul syllable ends in a consonant: 28 codes a vowel, the first without one."""
    return "가" <= character <= "힣" and (ord(character) - ord("가")) % 28 != 0
