"""What `mini` itself, and the exact detector, say of its drawings: rewards of preference learning.

A recipe names them, e.g. `{name: "janusflow.mini.rewards:described"}`, and `right` with weight 0:
the judge that learning does not see. Of a prompt they look at the coloured shapes, with their
numbers, and at where one of two is, seen from the other; a prompt that says more is judged by that.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

from PIL import Image

from janusflow.config.errors import DataError
from janusflow.mini.language.captions import description
from janusflow.mini.language.wordings import WORDINGS
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.naming import NamedRelation, named_objects, named_relation
from janusflow.mini.scenes.scene import (
    Background,
    Colour,
    Relation,
    Scene,
    SceneObject,
    Shape,
    relation,
)

MAX_DESCRIPTION_TOKENS = 96
OPPOSITE: dict[Relation, Relation] = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
}
APART: dict[Relation, tuple[float, float]] = {
    "left": (0.25, 0.5),
    "right": (0.75, 0.5),
    "above": (0.5, 0.25),
    "below": (0.5, 0.75),
}
"""Where an object is that another one in the middle is seen from."""


PLAIN = Background(kind="plain", tones=("white",))


class Asked(NamedTuple):
    """What a prompt asks for."""

    language: Language
    objects: Counter[tuple[Colour, Shape]]
    related: NamedRelation | None

    def holds(self, said: Counter[tuple[Colour, Shape]], related: NamedRelation | None) -> bool:
        """Whether these objects, and what is said of where they are, are as asked."""
        if said != self.objects or self.related is None:
            return said == self.objects
        if related is None:
            return False
        seen_from_other = NamedRelation(related.other, OPPOSITE[related.where], related.thing)
        return self.related in (related, seen_from_other)


def asked_by(prompt: str) -> Asked:
    """Read a prompt of either language.

    Raises:
        DataError: it names no coloured shape.
    """
    for language in LANGUAGES:
        objects = named_objects(prompt, language=language)
        if objects:
            return Asked(language, objects, named_relation(prompt, language=language))
    raise DataError(f"{prompt!r:.60} names no coloured shape, so mini cannot judge its drawings.")


def right(_jf: Any, prompt: str, images: Sequence[Image.Image]) -> list[float]:
    """1 where the exact detector finds just what the prompt asks for, else 0; no model judges."""
    asked = asked_by(prompt)

    def is_right(image: Image.Image) -> bool:
        found = [each.thing for each in look_at(image)]
        related = None
        if len(found) == 2:
            first, second = found
            where = relation(first, second)
            related = NamedRelation(_kind(first), where, _kind(second))
        return asked.holds(Counter(map(_kind, found)), related)

    return [float(is_right(image)) for image in images]


def described(jf: Any, prompt: str, images: Sequence[Image.Image]) -> list[float]:
    """1 where mini's own description of the image has just what the prompt asks for, else 0."""
    asked = asked_by(prompt)
    question = WORDINGS[asked.language]["description"][0]
    told = jf.ask([*images], [question] * len(images), max_new_tokens=MAX_DESCRIPTION_TOKENS)
    return [
        float(
            asked.holds(
                named_objects(text, language=asked.language),
                named_relation(text, language=asked.language),
            )
        )
        for text in told
    ]


def likelihood(jf: Any, prompt: str, images: Sequence[Image.Image]) -> list[float]:
    """Log-probability, in nats, that mini describes an image by what the prompt asks for.

    Descriptions have one fixed wording, which prompts need not have: it is the probability of all
    descriptions that the prompt allows, added up.
    """
    asked = asked_by(prompt)
    texts = allowed_descriptions(asked)
    question = WORDINGS[asked.language]["description"][0]
    pairs = [(image, text) for image in images for text in texts]
    found = jf.log_likelihoods(
        [([image], question) for image, _ in pairs], [text for _, text in pairs]
    )
    count = len(texts)
    return [_log_sum(found[start : start + count]) for start in range(0, len(found), count)]


def allowed_descriptions(asked: Asked) -> list[str]:
    """Every description of an image that shows just what is asked for."""
    kinds = [*asked.objects.elements()]
    if len(kinds) != 2 or kinds[0] == kinds[1]:
        things = tuple(_thing(kind, (0.5, 0.5)) for kind in kinds)
        return [_described(things, asked.language)]
    pairs: list[tuple[tuple[Colour, Shape], tuple[Colour, Shape], Relation]]
    if asked.related is not None:
        pairs = [(asked.related.thing, asked.related.other, asked.related.where)]
    else:
        pairs = [
            (first, second, where) for first, second in permutations(kinds) for where in OPPOSITE
        ]
    texts = [
        _described((_thing(first, APART[where]), _thing(second, (0.5, 0.5))), asked.language)
        for first, second, where in pairs
    ]
    return [*dict.fromkeys(texts)]


def _described(things: tuple[SceneObject, ...], language: Language) -> str:
    return description(Scene(objects=things, background=PLAIN), language=language)


def _kind(thing: SceneObject) -> tuple[Colour, Shape]:
    return thing.colour, thing.shape


def _thing(kind: tuple[Colour, Shape], centre: tuple[float, float]) -> SceneObject:
    return SceneObject(colour=kind[0], shape=kind[1], size="medium", x=centre[0], y=centre[1])


def _log_sum(values: Sequence[float]) -> float:
    most = max(values)
    return most + math.log(sum(math.exp(value - most) for value in values))
