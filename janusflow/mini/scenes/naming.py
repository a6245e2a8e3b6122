"""Read a scene's objects back from words, as `detector.py` reads them from pixels.

Every colour right before a shape counts as an object, or as many as the number beside it says:
"two red circles", "빨간 원 두 개". Sizes, places, relations, backgrounds and whatever else is said
are passed over.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from janusflow.mini.language.words import (
    ENGLISH_COUNTS,
    ENGLISH_RELATIONS,
    ENGLISH_SIZES,
    KOREAN_COLOURS,
    KOREAN_COUNTS,
    KOREAN_RELATIONS,
    KOREAN_SHAPES,
    Language,
    plural,
)
from janusflow.mini.scenes.scene import COLOURS, SHAPES, Colour, Relation, Shape

COLOUR_NAMES: dict[Language, dict[str, Colour]] = {
    "en": {colour: colour for colour in COLOURS},
    "ko": {name: colour for colour, names in KOREAN_COLOURS.items() for name in names},
}
SHAPE_NAMES: dict[Language, dict[str, Shape]] = {
    "en": {name: shape for shape in SHAPES for name in (shape, plural(shape))},
    "ko": {name: shape for shape, names in KOREAN_SHAPES.items() for name in names},
}

RELATION_NAMES: dict[Language, dict[str, Relation]] = {
    "en": {name: where for where, names in ENGLISH_RELATIONS.items() for name in names},
    "ko": {name: where for where, name in KOREAN_RELATIONS.items()},
}


def _numbers(counts: tuple[str, ...]) -> dict[str, int]:
    return {word: n for n in range(1, len(counts)) for word in (counts[n], str(n))}


NUMBERS: dict[Language, dict[str, int]] = {
    "en": _numbers(ENGLISH_COUNTS),
    "ko": _numbers(KOREAN_COUNTS),
}


def named_objects(text: str, *, language: Language) -> Counter[tuple[Colour, Shape]]:
    """The (colour, shape) pairs that a text names, with their numbers."""
    found: Counter[tuple[Colour, Shape]] = Counter()
    for match in OBJECT[language].finditer(text.lower()):
        kind = COLOUR_NAMES[language][match["colour"]], SHAPE_NAMES[language][match["shape"]]
        found[kind] += NUMBERS[language].get(match["number"], 1)
    return found


class NamedRelation(NamedTuple):
    """That one object is where, seen from another."""

    thing: tuple[Colour, Shape]
    where: Relation
    other: tuple[Colour, Shape]


def named_relation(text: str, *, language: Language) -> NamedRelation | None:
    """What a text says of where one of its two objects is, seen from the other, if it says that."""
    text = text.lower()
    named = [*OBJECT[language].finditer(text)]
    if len(named) != 2 or sum(named_objects(text, language=language).values()) != 2:
        return None
    said = RELATION[language].fullmatch(text[named[0].end() : named[1].start()])
    if said is None:
        return None
    kinds: list[tuple[Colour, Shape]] = [
        (COLOUR_NAMES[language][each["colour"]], SHAPE_NAMES[language][each["shape"]])
        for each in named
    ]
    first, second = kinds if language == "en" else kinds[::-1]
    return NamedRelation(first, RELATION_NAMES[language][said["where"]], second)


def _one_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


def _object(language: Language) -> re.Pattern[str]:
    colour = f"(?P<colour>{_one_of(COLOUR_NAMES[language])})"
    shape = f"(?P<shape>{_one_of(SHAPE_NAMES[language])})"
    number = f"(?P<number>{_one_of(NUMBERS[language])})"
    if language == "ko":
        return re.compile(rf"{colour} {shape}(?: {number} ?개)?")
    size = _one_of(name for names in ENGLISH_SIZES.values() for name in names)
    return re.compile(rf"\b(?:{number} )?(?:(?:{size}) )?{colour} {shape}\b")


def _relation(language: Language) -> re.Pattern[str]:
    where = f"(?P<where>{_one_of(RELATION_NAMES[language])})"
    if language == "ko":
        return re.compile(rf"(?:의)? {where}에 (?:있는 )?")
    return re.compile(rf" (?:is )?{where} (?:an? |the )?")


RELATION: dict[Language, re.Pattern[str]] = {"en": _relation("en"), "ko": _relation("ko")}
"""What stands between two objects; in Korean the one named first is where one looks from."""
OBJECT: dict[Language, re.Pattern[str]] = {"en": _object("en"), "ko": _object("ko")}
