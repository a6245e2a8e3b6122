"""Put a scene into words, English or Korean: what a person might ask to be drawn.

A caption names every object's colour and shape (and how many of it); relation, position,
sizes and background come in often and are always true. A quarter of the captions are short:
no sizes, no background. `description` is one fixed wording, so that an answer can be checked.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from janusflow.mini.language.words import (
    ENGLISH_COUNTS,
    ENGLISH_DRAW_FRAMES,
    ENGLISH_FRAMES,
    ENGLISH_PLACES,
    ENGLISH_RELATIONS,
    KOREAN_COUNTS,
    KOREAN_DRAW_FRAMES,
    KOREAN_FRAMES,
    KOREAN_POSITIONS,
    KOREAN_RELATIONS,
    Language,
    background_phrase,
    fill,
    join,
    noun,
    pick,
    with_article,
)
from janusflow.mini.scenes.scene import (
    COLOURS,
    POSITIONS,
    SHAPES,
    Scene,
    SceneObject,
    position,
    reading_order,
    relation,
)

SHORT_PROBABILITY = 0.25
"""A quarter of the paper's captions are single sentences too (stages 1 and 2, drawing)."""
RELATION_PROBABILITY = 0.65
POSITION_PROBABILITY = 0.95
"""Of the lone objects whose position is clear."""
PLACED_PROBABILITY = 0.4
"""Of the scenes of several objects whose positions are all clear: each is named with its place."""
# The next three are of the captions that are not short.
SIZE_PROBABILITY = 0.85
BACKGROUND_PROBABILITY = 0.75
FRAME_PROBABILITY = 0.6
NUM_EMPTY = 2
"""Places without anything that a text about places tells."""
BARE_PROBABILITY = 0.15
"""English captions without articles: "red circle"."""
DRAW_PROBABILITY = 0.2
"""Of the frames that ask to draw rather than name an image."""

KOREAN_CONJUNCTIONS = ("[과/와]", "[과/와]", "하고", ",")

Where = Literal["places", "relation"]
"""How a caption says where things are: each by its place, or one from the other."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Objects alike in shape and colour; `thing` is one of them."""

    thing: SceneObject
    count: int


def grouped(scene: Scene) -> list[Group]:
    """Gather objects alike in shape and colour, in the order of the palette, then of shapes."""
    groups: dict[tuple[int, int], list[SceneObject]] = {}
    for thing in scene.objects:
        key = COLOURS.index(thing.colour), SHAPES.index(thing.shape)
        groups.setdefault(key, []).append(thing)
    return [Group(thing=things[0], count=len(things)) for _, things in sorted(groups.items())]


def caption(
    scene: Scene,
    rng: np.random.Generator,
    *,
    language: Language,
    placed: float = PLACED_PROBABILITY,
    plain: float = 0.0,
) -> str:
    """Say what is in the scene, each time in other words.

    Args:
        placed: how often each of several objects is named with its place, if that is clear.
        plain: how often nothing but colours, shapes and numbers is said, as people mostly ask.
    """
    style = _style(scene, rng, language=language, placed=placed, plain=plain)
    return _worded(scene, _shuffled(scene, rng), style, rng, language=language)


class PlannedCaption(NamedTuple):
    """A caption, and what to draw for it."""

    text: str
    plan: str
    """The same in canonical English and the same order, every object on its own with its place."""


def planned_caption(
    scene: Scene, rng: np.random.Generator, *, language: Language, placed: float, plain: float
) -> PlannedCaption | None:
    """Caption a scene as `caption` does, and plan it: None if some object's place is not clear.

    What the caption says nothing of, sizes or the background, its plan leaves open as well. Plans
    are in one language and one wording, so that drawing has to learn no other.
    """
    if any(position(thing) is None for thing in scene.objects):
        return None
    style = _style(scene, rng, language=language, placed=placed, plain=plain)
    groups = _shuffled(scene, rng)
    return PlannedCaption(
        text=_worded(scene, groups, style, rng, language=language), plan=_plan(scene, groups, style)
    )


@dataclass(frozen=True, kw_only=True)
class _Style:
    """What a caption says beside colours, shapes and numbers, and how."""

    sized: bool
    with_background: bool
    framed: bool
    bare: bool
    where: Where | None


def _style(
    scene: Scene, rng: np.random.Generator, *, language: Language, placed: float, plain: float
) -> _Style:
    is_plain = rng.random() < plain
    is_short = is_plain or rng.random() < SHORT_PROBABILITY
    sized = not is_short and rng.random() < SIZE_PROBABILITY
    with_background = not is_short and rng.random() < BACKGROUND_PROBABILITY
    framed = not is_short and rng.random() < FRAME_PROBABILITY
    where = None if is_plain else _what_is_said_of_places(scene, rng, placed=placed)
    bare = language == "en" and not framed and rng.random() < BARE_PROBABILITY
    return _Style(
        sized=sized, with_background=with_background, framed=framed, bare=bare, where=where
    )


def _plan(scene: Scene, groups: list[Group], style: _Style) -> str:
    things = [
        f"{with_article(noun(group.thing, 'en', sized=style.sized))} {ENGLISH_PLACES[place][0]}"
        for group in groups
        for place in _places(scene, group)
    ]
    where = f" on {background_phrase(scene.background, 'en')}" if style.with_background else ""
    return ", ".join(things) + where


def _shuffled(scene: Scene, rng: np.random.Generator) -> list[Group]:
    groups = grouped(scene)
    rng.shuffle(groups)
    return groups


def _worded(
    scene: Scene,
    groups: list[Group],
    style: _Style,
    rng: np.random.Generator,
    *,
    language: Language,
) -> str:
    """Put a scene into words."""
    if language == "en":
        text = _english_objects(scene, groups, style, rng)
        if style.with_background:
            text = f"{text} on {background_phrase(scene.background, 'en')}"
    else:
        text = _korean_objects(scene, groups, style, rng)
        if style.with_background:
            # A second "...에" after the background's own reads badly, so a comma stands there.
            link = ", " if "에 " in text else "에 "
            text = f"{background_phrase(scene.background, 'ko')}{link}{text}"
    text = _framed(text, rng, language) if style.framed else text
    return _finish_english(text, rng) if language == "en" else text


def description(scene: Scene, *, language: Language) -> str:
    """Say what is in the scene in its one canonical wording.

    Two different objects are put in relation, the left or upper one first. Anything else is
    listed by colour and shape in the order of COLOURS and SHAPES, which pixels alone decide.
    """
    groups = grouped(scene)
    if len(scene.objects) != 2 or len(groups) != 2:
        counted = any(group.count > 1 for group in groups)
        return join([_phrase(group, language, counted=counted) for group in groups], language)
    first, second = scene.objects
    if relation(first, second) in ("right", "below"):
        first, second = second, first
    return related_caption(first, second, language=language)


def related_caption(first: SceneObject, second: SceneObject, *, language: Language) -> str:
    """Say of two objects where the first is, seen from the second, and nothing else."""
    where = relation(first, second)
    if language == "en":
        words = (with_article(noun(first, "en")), with_article(noun(second, "en")))
        return f"{words[0]} {ENGLISH_RELATIONS[where][0]} {words[1]}"
    return f"{noun(second, 'ko')} {KOREAN_RELATIONS[where]}에 {noun(first, 'ko')}"


class PlacedCaption(NamedTuple):
    """A caption that says where everything is, and what some places hold, in any order."""

    text: str
    holds: tuple[tuple[str, str], ...]
    """Places and what they hold: nothing, or an object's canonical name."""


def placed_caption(
    scene: Scene, rng: np.random.Generator, *, language: Language
) -> PlacedCaption | None:
    """Caption a scene and ask the caption, so to speak: None if some place is not clear.

    To say what a place holds, things must be found by their place and nothing else, as they must be
    to draw the caption.
    """
    things = {place: noun(each, language) for each in scene.objects if (place := position(each))}
    if len(things) < len(scene.objects):
        return None
    empty = [place for place in POSITIONS if place not in things]
    asked = [*things, *rng.permutation(empty)[:NUM_EMPTY].tolist()]
    nothing = "nothing" if language == "en" else "없음"
    holds = tuple(
        (place if language == "en" else KOREAN_POSITIONS[place], things.get(place, nothing))
        for place in rng.permutation(asked).tolist()
    )
    return PlacedCaption(caption(scene, rng, language=language, placed=1.0), holds)


def _phrase(
    group: Group,
    language: Language,
    *,
    counted: bool,
    sized: bool = False,
    bare: bool = False,
    rng: np.random.Generator | None = None,
) -> str:
    """Name a group with its number; Korean numbers lone objects only if others are counted."""
    name = noun(group.thing, language, count=group.count, sized=sized, rng=rng)
    if language == "ko":
        return f"{name} {KOREAN_COUNTS[group.count]} 개" if counted else name
    if group.count > 1:
        use_digit = rng is not None and rng.random() < 0.15
        return f"{group.count if use_digit else ENGLISH_COUNTS[group.count]} {name}"
    return name if bare else with_article(name)


def _english_objects(
    scene: Scene, groups: list[Group], style: _Style, rng: np.random.Generator
) -> str:
    phrases = [
        _phrase(each, "en", counted=True, sized=style.sized, bare=style.bare, rng=rng)
        for each in groups
    ]
    if style.where == "places":
        places = [
            [pick(rng, ENGLISH_PLACES[place]) for place in _places(scene, each)] for each in groups
        ]
        return join(
            [f"{phrase} {join(at, 'en')}" for phrase, at in zip(phrases, places, strict=True)], "en"
        )
    if style.where == "relation":
        side = relation(groups[0].thing, groups[1].thing)
        return f"{phrases[0]} {pick(rng, ENGLISH_RELATIONS[side])} {phrases[1]}"
    if len(scene.objects) == len(groups) == 2:
        return f"{phrases[0]} {pick(rng, ('and', 'and', 'with'))} {phrases[1]}"
    return join(phrases, "en")


def _korean_objects(
    scene: Scene, groups: list[Group], style: _Style, rng: np.random.Generator
) -> str:
    counted = any(group.count > 1 for group in groups)
    phrases = [_phrase(each, "ko", counted=counted, sized=style.sized, rng=rng) for each in groups]
    if style.where == "places":
        link = pick(rng, ("에", "에 있는"))
        places = [
            join([KOREAN_POSITIONS[place] for place in _places(scene, each)], "ko")
            for each in groups
        ]
        phrases = [f"{at}{link} {phrase}" for phrase, at in zip(phrases, places, strict=True)]
        return join(phrases, "ko", conjunction=pick(rng, KOREAN_CONJUNCTIONS))
    if style.where == "relation":
        side = KOREAN_RELATIONS[relation(groups[0].thing, groups[1].thing)]
        link = pick(rng, ("{b} {side}에 {a}", "{b} {side}에 있는 {a}", "{b}의 {side}에 {a}"))
        return fill(link, {"a": phrases[0], "b": phrases[1], "side": side})
    return join(phrases, "ko", conjunction=pick(rng, KOREAN_CONJUNCTIONS))


def _what_is_said_of_places(
    scene: Scene, rng: np.random.Generator, *, placed: float
) -> Where | None:
    """Where every object is, if all of that is clear; or of two different ones, their relation."""
    probability = POSITION_PROBABILITY if len(scene.objects) == 1 else placed
    is_clear = all(position(thing) is not None for thing in scene.objects)
    if is_clear and rng.random() < probability:
        return "places"
    is_pair = len(scene.objects) == len(grouped(scene)) == 2
    return "relation" if is_pair and rng.random() < RELATION_PROBABILITY else None


def _places(scene: Scene, group: Group) -> list[str]:
    """Where the objects of a group are, in reading order."""
    alike = (group.thing.colour, group.thing.shape)
    things = reading_order(
        tuple(thing for thing in scene.objects if (thing.colour, thing.shape) == alike)
    )
    return [place for thing in things if (place := position(thing)) is not None]


def _framed(text: str, rng: np.random.Generator, language: Language) -> str:
    draws = rng.random() < DRAW_PROBABILITY
    if language == "en":
        frames = ENGLISH_DRAW_FRAMES if draws else ENGLISH_FRAMES
    else:
        frames = KOREAN_DRAW_FRAMES if draws else KOREAN_FRAMES
    frame = pick(rng, frames)
    if "있" in frame:
        text = text.replace("에 있는 ", "에 ")  # one 있다 is enough for a sentence
    return fill(frame, {"scene": text})


def _finish_english(text: str, rng: np.random.Generator) -> str:
    """Now and then write a capital and a full stop, as people do."""
    if rng.random() < 0.25:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.1 and not text.endswith("?"):
        text += "."
    return text
