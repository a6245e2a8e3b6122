"""Questions about a scene whose one short answer nobody would dispute.

An object is spoken of by a name that fits only it ("the star", "the red object", "the red
star"). Where and how things lie is asked only when it is clear by the margins of `scenes.py`.
Yes/no questions are answered yes half of the time, the wording drawn independently of that.
Answers have a single wording: colours, shapes and sizes by name, counts in digits, objects
without an article, yes/no or 네/아니요.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from janusflow.mini.language.captions import description
from janusflow.mini.language.wordings import WORDINGS
from janusflow.mini.language.words import (
    ENGLISH_COUNTS,
    ENGLISH_RELATIONS,
    KOREAN_COUNTS,
    KOREAN_POSITIONS,
    KOREAN_RELATIONS,
    OPPOSITE,
    Language,
    colour_answer,
    colour_name,
    fill,
    noun,
    pick,
    plural,
    shape_name,
    size_answer,
    with_article,
)
from janusflow.mini.scenes.scene import (
    COLOURS,
    MAX_OBJECTS,
    SHAPES,
    SIZES,
    Colour,
    Relation,
    Scene,
    SceneObject,
    Shape,
    has_clear_relation,
    position,
    relation,
)

Kind = Literal["colour", "shape", "count", "position", "relation", "yes_no", "size", "description"]
Name = Literal["both", "shape", "colour"]
"""What an object is spoken of by: "the red star", "the star", "the red object"."""
NAMES: tuple[Name, ...] = get_args(Name)
ABSENT_PROBABILITY = 0.15
"""How often "How many ...?" asks for a colour that is not there."""
SAME_SPELLING = {"color": "colour", "gray": "grey", "center": "centre", "middle": "centre"}
IGNORED_WORDS = ("a", "an", "the")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its only right answer."""

    kind: Kind
    text: str
    answer: str
    language: Language


def ask_all(
    scene: Scene,
    rng: np.random.Generator,
    *,
    language: Language,
    placed_by: Collection[Name] = NAMES,
) -> list[Question]:
    """Ask everything that has one clear answer; wordings and examples differ each time.

    Places are asked of what can be named by one of `placed_by`.
    """
    asker = _Asker(scene, rng, language)
    return [
        *asker.about_colour(),
        *asker.about_shape(),
        *asker.about_count(),
        *asker.about_position(placed_by),
        *asker.about_relation(),
        *asker.yes_or_no(),
        *asker.about_size(),
        asker.ask("description", "description", {}, description(scene, language=language)),
    ]


def is_correct(question: Question, text: str) -> bool:
    """Tell whether a text is the answer, whatever its case, spaces, articles and full stop."""
    return _normal(text) == _normal(question.answer)


def _normal(text: str) -> str:
    words = text.strip().rstrip(".!。 ").lower().split()
    return " ".join(SAME_SPELLING.get(word, word) for word in words if word not in IGNORED_WORDS)


class _Asker:
    """Asks about one scene in one language; holds what every question needs."""

    def __init__(self, scene: Scene, rng: np.random.Generator, language: Language) -> None:
        self.objects = scene.objects
        self.rng = rng
        self.language: Language = language
        self.colours: Counter[Colour] = Counter(thing.colour for thing in scene.objects)
        self.shapes: Counter[Shape] = Counter(thing.shape for thing in scene.objects)
        self.kinds: Counter[tuple[Colour, Shape]] = Counter(
            (thing.colour, thing.shape) for thing in scene.objects
        )

    def ask(self, kind: Kind, form: str, words: dict[str, str], answer: str) -> Question:
        spelling = "colour" if self.rng.random() < 0.5 else "color"
        words = words | {slot + ":a": with_article(word) for slot, word in words.items()}
        text = fill(pick(self.rng, WORDINGS[self.language][form]), words | {"spelling": spelling})
        return Question(kind=kind, text=text, answer=answer, language=self.language)

    # What is asked -------------------------------------------------------------------------

    def about_colour(self) -> list[Question]:
        """Ask for the colour of every shape that occurs in one colour."""
        found = []
        for shape, count in self.shapes.items():
            colours: list[Colour] = [thing.colour for thing in self.objects if thing.shape == shape]
            answer = colour_answer(colours[0], self.language)
            if len({*colours}) == 1:
                found.append(self._about_trait("colour", self._shape, shape, count, answer))
        return found

    def about_shape(self) -> list[Question]:
        """Ask for the shape of every colour that occurs in one shape."""
        found = []
        for colour, count in self.colours.items():
            shapes: list[Shape] = [thing.shape for thing in self.objects if thing.colour == colour]
            answer = shape_name(shapes[0], self.language)
            if len({*shapes}) == 1:
                found.append(self._about_trait("shape", self._coloured, colour, count, answer))
        return found

    def _about_trait(
        self, kind: Kind, name: Callable[..., str], by: str, count: int, answer: str
    ) -> Question:
        """Ask for a trait of what one name fits: at times without it, if nothing else is there."""
        if len(self.objects) == 1 and self.rng.random() < 0.5:
            return self.ask(kind, f"{kind}_alone", {}, answer)
        if count == 1:
            return self.ask(kind, kind, {"thing": name(by)}, answer)
        return self.ask(kind, f"{kind}_of_several", {"things": name(by, count=count)}, answer)

    def about_count(self) -> list[Question]:
        """Ask for the number of all objects, and of those of a colour, a shape or both."""
        found = [self.ask("count", "count_all", {}, str(len(self.objects)))]
        thing = pick(self.rng, self.objects)
        options = [
            (self._coloured(thing.colour, count=2), self.colours[thing.colour]),
            (self._shape(thing.shape, count=2), self.shapes[thing.shape]),
            (self._noun(thing, count=2), self.kinds[thing.colour, thing.shape]),
        ]
        words, count = pick(self.rng, options)
        if self.rng.random() < ABSENT_PROBABILITY:
            absent: list[Colour] = [colour for colour in COLOURS if colour not in self.colours]
            words, count = self._coloured(pick(self.rng, absent), count=2), 0
        return [*found, self.ask("count", "count_some", {"things": words}, str(count))]

    def about_position(self, placed_by: Collection[Name]) -> list[Question]:
        """Ask where things are that stand clearly inside one of the 3x3 cells."""
        found = []
        for thing in self.objects:
            place, name = position(thing), self._unique_name(thing, placed_by)
            if place is None or name is None:
                continue
            answer = place if self.language == "en" else KOREAN_POSITIONS[place]
            found.append(self.ask("position", "position", {"thing": name}, answer))
        return found

    def about_relation(self) -> list[Question]:
        """Ask how two different objects lie to one another, and what lies beside one."""
        pair = self._related_pair()
        if pair is None:
            return []
        a, b = pair
        where = relation(a, b)
        words = {"thing": self._name(b), "where": self._where(where)}
        what = self.ask("relation", "relation_what", words, noun(a, self.language))
        words = {"a": self._name(a), "b": self._name(b)}
        answer = where if self.language == "en" else KOREAN_RELATIONS[where]
        return [what, self.ask("relation", "relation_where", words, answer)]

    def yes_or_no(self) -> list[Question]:
        """Ask whether something is there, of a colour, so many, or beside something."""
        found = [self._is_there(), self._has_count()]
        single = [thing for thing in self.objects if self.shapes[thing.shape] == 1]
        if single:
            found.append(self._has_colour(pick(self.rng, single)))
        pair = self._related_pair()
        if pair is not None:
            found.append(self._has_relation(*pair))
        return found

    def about_size(self) -> list[Question]:
        """Ask for one object's size and, of two objects unlike in size, for the bigger."""
        found = []
        named = [thing for thing in self.objects if self._unique_name(thing) is not None]
        if named:
            thing = pick(self.rng, named)
            answer = size_answer(thing.size, self.language)
            found.append(self.ask("size", "size", {"thing": self._name(thing)}, answer))
        if len(named) == len(self.objects) == 2 and named[0].size != named[1].size:
            a, b = self._shuffled_pair()
            bigger = max(a, b, key=lambda thing: SIZES.index(thing.size))
            words = {"a": self._noun(a), "b": self._noun(b)}
            found.append(self.ask("size", "bigger", words, noun(bigger, self.language)))
        return found

    # Yes/no questions ----------------------------------------------------------------------

    def _yes_no(self, form: str, words: dict[str, str], *, is_true: bool) -> Question:
        answer = {"en": ("no", "yes"), "ko": ("아니요", "네")}[self.language][is_true]
        return self.ask("yes_no", form, words, answer)

    def _is_there(self) -> Question:
        thing = pick(self.rng, self.objects)
        is_true = bool(self.rng.random() < 0.5)
        colour, shape = (thing.colour, thing.shape) if is_true else self._absent_kind(thing)
        name = f"{self._colour(colour)} {self._shape(shape)}"
        words = {"thing": with_article(name) if self.language == "en" else name}
        return self._yes_no("exists", words, is_true=is_true)

    def _absent_kind(self, thing: SceneObject) -> tuple[Colour, Shape]:
        """Draw what is not there but nearly: mostly one trait off, or two traits mixed up."""
        trait = int(self.rng.integers(3))
        while True:
            near = pick(self.rng, self.objects)
            colour = pick(self.rng, COLOURS) if trait != 1 else near.colour
            shape = pick(self.rng, SHAPES) if trait == 2 else thing.shape
            if (colour, shape) not in self.kinds:
                return colour, shape
            trait = int(self.rng.integers(3))

    def _has_count(self) -> Question:
        """Ask for a number, right or wrong; one has its own form ("only one object")."""
        number = len(self.objects)
        is_true = bool(self.rng.random() < 0.5)
        if not is_true:
            number = pick(self.rng, [n for n in range(1, MAX_OBJECTS + 1) if n != number])
        if number == 1:
            return self._yes_no("has_one", {}, is_true=is_true)
        counts = ENGLISH_COUNTS if self.language == "en" else KOREAN_COUNTS
        return self._yes_no("has_count", {"number": counts[number]}, is_true=is_true)

    def _has_colour(self, thing: SceneObject) -> Question:
        is_true = bool(self.rng.random() < 0.5)
        others: list[Colour] = [colour for colour in COLOURS if colour != thing.colour]
        seen: list[Colour] = [colour for colour in self.colours if colour != thing.colour]
        wrong = pick(self.rng, seen if seen and self.rng.random() < 0.5 else others)
        colour = colour_answer(thing.colour if is_true else wrong, self.language)
        words = {"thing": self._shape(thing.shape), "colour": colour}
        return self._yes_no("has_colour", words, is_true=is_true)

    def _has_relation(self, a: SceneObject, b: SceneObject) -> Question:
        is_true = bool(self.rng.random() < 0.5)
        where = relation(a, b) if is_true else OPPOSITE[relation(a, b)]
        words = {"a": self._noun(a), "b": self._noun(b), "where": self._where(where)}
        return self._yes_no("has_relation", words, is_true=is_true)

    # Names ---------------------------------------------------------------------------------

    def _shuffled_pair(self) -> tuple[SceneObject, SceneObject]:
        first, second = self.objects
        return (first, second) if self.rng.random() < 0.5 else (second, first)

    def _related_pair(self) -> tuple[SceneObject, SceneObject] | None:
        """Two objects, different and clearly beside one another, in either order; else None."""
        if len(self.objects) != 2 or len(self.kinds) != 2 or not has_clear_relation(*self.objects):
            return None
        return self._shuffled_pair()

    def _unique_name(self, thing: SceneObject, by: Collection[Name] = NAMES) -> str | None:
        """Name an object as no other can be named; None if it has a twin in all of `by`."""
        names = []
        if "both" in by and self.kinds[thing.colour, thing.shape] == 1:
            names.append(self._noun(thing))
        if "shape" in by and self.shapes[thing.shape] == 1:
            names.append(self._shape(thing.shape))
        if "colour" in by and self.colours[thing.colour] == 1 and len(self.objects) > 1:
            names.append(self._coloured(thing.colour))
        return pick(self.rng, names) if names else None

    def _name(self, thing: SceneObject) -> str:
        name = self._unique_name(thing)
        assert name is not None, "only objects without a twin are asked about by name"
        return name

    def _noun(self, thing: SceneObject, *, count: int = 1) -> str:
        return noun(thing, self.language, count=count, rng=self.rng)

    def _colour(self, colour: Colour) -> str:
        return colour_name(colour, self.language, self.rng)

    def _shape(self, shape: Shape, *, count: int = 1) -> str:
        name = shape_name(shape, self.language, self.rng)
        return plural(name) if self.language == "en" and count > 1 else name

    def _coloured(self, colour: Colour, *, count: int = 1) -> str:
        """Name an object by colour alone: "red object", "빨간 도형"."""
        if self.language == "ko":
            return f"{self._colour(colour)} 도형"
        name = f"{colour} object"  # "shape" would give "What shape is the red shape?"
        return plural(name) if count > 1 else name

    def _where(self, where: Relation) -> str:
        if self.language == "ko":
            return KOREAN_RELATIONS[where]
        return pick(self.rng, ENGLISH_RELATIONS[where])
