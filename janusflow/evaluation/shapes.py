"""Does a model draw and see shapes? Measured on compositions `mini` never trained on.

The generator's own detector judges the pictures; its error on true renders is measured first, so
that a score can be read against it. Items are a function of the seed: every model gets the same.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from janusflow.mini.captions import caption
from janusflow.mini.detector import detect
from janusflow.mini.questions import Question, ask_all
from janusflow.mini.render import render
from janusflow.mini.scenes import Scene, sample_scene
from janusflow.mini.words import Language

LANGUAGES: tuple[Language, ...] = ("en", "ko")
MAX_ANSWER_TOKENS = 96
"""A description of four objects in Korean fits."""
WILSON_Z = 1.96
"""95% of a normal lies within this many standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How many of a kind were right."""

    name: str
    num_right: int
    num_items: int

    @property
    def share(self) -> float:
        """Fraction right."""
        return self.num_right / self.num_items

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the true share (Wilson 1927)."""
        n, z = self.num_items, WILSON_Z
        centre = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        spread = self.share * (1 - self.share) / n + z * z / (4 * n * n)
        half = z * spread**0.5 / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture drawn from a scene's caption, and what the detector finds in it."""

    scene: Scene
    prompt: str
    picture: Image.Image
    found: Counter[tuple[str, str]]

    @property
    def verdicts(self) -> dict[str, bool]:
        """Whether the objects are right, all of them and no other; then by colours or shapes alone.

        The keys are what a score's name says after the language.
        """
        wanted = kinds(self.scene)
        return {
            "": self.found == wanted,
            " colours": _nth(self.found, 0) == _nth(wanted, 0),
            " shapes": _nth(self.found, 1) == _nth(wanted, 1),
        }


def kinds(scene: Scene | Sequence) -> Counter[tuple[str, str]]:
    """The (colour, shape) pairs of a scene or of a detector's findings, with their numbers."""
    objects = scene.objects if isinstance(scene, Scene) else scene
    return Counter((thing.colour, thing.shape) for thing in objects)


def _nth(pairs: Counter[tuple[str, str]], n: int) -> Counter[str]:
    return Counter(pair[n] for pair in pairs.elements())


def held_out_scenes(num_scenes: int, *, seed: int, num_objects: int | None = None) -> list[Scene]:
    """Scenes of compositions that training never saw."""
    return [
        sample_scene(np.random.default_rng((seed, index)), num_objects=num_objects, split="heldout")
        for index in range(num_scenes)
    ]


def score_detector(num_scenes: int, *, seed: int, num_objects: int | None, size: int) -> Score:
    """How often the detector reads a true render right: all colours and shapes, none besides."""
    scenes = held_out_scenes(num_scenes, seed=seed, num_objects=num_objects)
    right = sum(kinds(detect(render(scene, size=size))) == kinds(scene) for scene in scenes)
    return Score(name="detector on true renders", num_right=right, num_items=num_scenes)


def captioned_scenes(
    num_scenes: int, *, seed: int, language: Language, num_objects: int
) -> list[tuple[Scene, str]]:
    """Held-out scenes, each with the caption that is its prompt."""
    return [
        (scene, caption(scene, np.random.default_rng((seed, index)), language=language))
        for index, scene in enumerate(
            held_out_scenes(num_scenes, seed=seed, num_objects=num_objects)
        )
    ]


def questioned_scenes(
    num_questions: int, *, seed: int, size: int
) -> list[tuple[Image.Image, Question]]:
    """Renders of held-out scenes, each with one question about it, in both languages in turn."""
    items: list[tuple[Image.Image, Question]] = []
    for index, scene in enumerate(held_out_scenes(num_questions, seed=seed)):
        rng = np.random.default_rng((seed, index))
        asked = ask_all(scene, rng, language=LANGUAGES[index % 2])
        items.append((render(scene, size=size), asked[rng.integers(len(asked))]))
    return items


def plain_question(text: str, answer: str) -> Question:
    """A question from elsewhere, whose answer is compared as a description's is: as a whole."""
    return Question(kind="description", text=text, answer=answer, language="en")


def tally(named: Sequence[tuple[str, bool]]) -> list[Score]:
    """One score for each name, in order of first appearance, and one for all."""
    totals = Counter(name for name, _ in named)
    rights = Counter(name for name, is_right in named if is_right)
    scores = [Score(name=n, num_right=rights[n], num_items=count) for n, count in totals.items()]
    everything = Score(name="all", num_right=rights.total(), num_items=len(named))
    return [*scores, everything]
