"""Training samples of `mini` from rendered scenes: images with questions, prompts, plain text."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.data import SourceConfig
from janusflow.config.errors import DataError
from janusflow.config.records import build_record
from janusflow.data.samples import GenerationSample, TextSample, Turn, UnderstandingSample
from janusflow.data.sources.base import WeightedSource
from janusflow.mini.language.captions import (
    PLACED_PROBABILITY,
    caption,
    placed_caption,
    planned_caption,
    related_caption,
)
from janusflow.mini.language.questions import ask_all
from janusflow.mini.language.words import Language
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.mini.scenes.scene import SHAPES, Scene, Shape, sample_scene
from janusflow.mini.training.options import DrawingOptions, QuestionOptions, SourceOptions
from janusflow.processing.templates import planning_question

MAX_TURNS = 16
PLANS_A_SAMPLE = 3
LOOKUPS_A_SAMPLE = 8
PLANS_PAIRS, PLANS_ALIKE, PLANS_PLACED, PLANS_PLAIN = 0.45, 0.2, 0.15, 0.2
"""Of captions with plans: those of two that differ, of several of one kind, and as in `caption`."""
KindInWords = Literal["colour", "shape", "count", "position", "yes_no", "description"]
"""Questions that a caption with places answers; it may leave out sizes and who is left of whom."""
INDEPENDENT_SHARE = 0.85
"""Of the images with questions; the others are one conversation of several turns."""


@dataclass(frozen=True, kw_only=True)
class SceneQuestions:
    """Images with up to MAX_TURNS questions each, in one language.

    Mostly each on its own: earlier questions and answers would give later answers away.
    """

    scenes: SceneFolder
    rows: np.ndarray
    options: QuestionOptions
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, row: int, rng: np.random.Generator) -> UnderstandingSample:
        """One scene's questions, in words drawn anew."""
        index = int(self.rows[row])
        scene, placed_by = self.scenes.scene(index), self.options.placed_by
        every = ask_all(scene, rng, language=_language(rng), placed_by=placed_by)
        asked = [question for question in every if question.kind in self.options.kinds]
        chosen = rng.permutation(len(asked))[:MAX_TURNS].tolist()
        return UnderstandingSample(
            images=(_pixels(self.scenes, index),),
            turns=tuple(Turn(question=asked[i].text, answer=asked[i].answer) for i in chosen),
            are_independent=bool(rng.random() < INDEPENDENT_SHARE),
        )


@dataclass(frozen=True, kw_only=True)
class SceneDrawings:
    """Captions of some scenes, or the plans of these captions, with latents and pixels."""

    scenes: SceneFolder
    latents: np.ndarray | None
    rows: np.ndarray
    options: DrawingOptions
    planned: bool
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, row: int, rng: np.random.Generator) -> GenerationSample:
        """One scene, in words drawn anew."""
        index, latent = int(self.rows[row]), None
        if self.latents is not None:
            latent = torch.from_numpy(self.latents[index].astype(np.float32))
        return GenerationSample(
            prompt=self._prompt(self.scenes.scene(index), rng),
            latent=latent,
            pixel_values=_pixels(self.scenes, index),
            seed=int(rng.integers(2**63)),
        )

    def _prompt(self, scene: Scene, rng: np.random.Generator) -> str:
        said: dict[str, Any] = {"placed": self.options.placed, "plain": self.options.plain}
        said["language"] = _language(rng)
        planned = planned_caption(scene, rng, **said) if self.planned else None
        return caption(scene, rng, **said) if planned is None else planned.plan


class Unrendered(SourceOptions):
    """A source that makes scenes as it goes: its one row is another each time, no path is read."""

    name: ClassVar[str]

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class SceneTexts(Unrendered):
    """Captions of scenes, each time others, with something that follows."""

    name = "scene texts"
    places: float = 0.0
    """The share of texts that say what some places hold."""

    def sample(self, row: int, rng: np.random.Generator) -> TextSample:  # noqa: ARG002 (no rows)
        """What some places hold, in `places` of those that can say, or an answered question."""
        scene, language = sample_scene(rng), _language(rng)
        if rng.random() < self.places:
            placed = placed_caption(scene, rng, language=language)
            if placed is not None:
                lines = [f"{place}: {thing}" for place, thing in placed.holds]
                return TextSample(text="\n".join([placed.text, *lines]))
        first, *_ = ask_all(scene, rng, language=language)
        words = caption(scene, rng, language=language)
        return TextSample(text=f"{words}\n{first.text} {first.answer}")


@dataclass(frozen=True, kw_only=True)
class ScenePrompts(Unrendered):
    """Captions of scenes without images, each time others: what preference learning draws."""

    name = "scene prompts"
    objects: tuple[int, ...] = (1, 2, 3, 4)
    """How many objects a scene may have; each number comes as often."""
    identical: bool | None = None
    """Of several objects: true wants all of one kind, false wants none alike."""
    placed: float = PLACED_PROBABILITY
    """How often the caption of several objects says where each is, if that is clear."""
    plain: float = 0.0
    """How often it says nothing but colours, shapes and numbers."""
    related: float = 0.0
    """How often it says where one of two objects is, seen from the other, and nothing else."""

    def sample(self, row: int, rng: np.random.Generator) -> GenerationSample:  # noqa: ARG002
        """A prompt; learning it as it is would want an image."""
        count = int(rng.choice(self.objects))
        scene = sample_scene(
            rng, num_objects=count, identical=self.identical if count > 1 else None
        )
        language = _language(rng)
        if count == 2 and rng.random() < self.related:
            first, second = (scene.objects[i] for i in rng.permutation(2))
            prompt = related_caption(first, second, language=language)
        else:
            prompt = caption(scene, rng, language=language, placed=self.placed, plain=self.plain)
        return GenerationSample(prompt=prompt, pixel_values=None, seed=int(rng.integers(2**63)))


@dataclass(frozen=True, kw_only=True)
class SceneLookups(Unrendered):
    """Questions about captions: which of two objects is where, or with `kinds` of any scene more.

    A drawing binds a colour to a shape by the place both have in the words, and an answer finds an
    object by one trait to tell another. Those are lookups, which a small LLM learns in words alone
    in minutes.
    """

    name = "scene lookups"
    shapes: tuple[Shape, ...] = SHAPES
    """The only ones."""
    kinds: tuple[KindInWords, ...] = ()
    """Of questions about scenes of any number of objects; by default none, about two."""

    def sample(self, row: int, rng: np.random.Generator) -> UnderstandingSample:  # noqa: ARG002
        """A conversation: the caption and a question, then others, in any order."""
        while True:
            scene = sample_scene(rng, num_objects=None if self.kinds else 2)
            language = _language(rng)
            are_known = {thing.shape for thing in scene.objects} <= set(self.shapes)
            placed = placed_caption(scene, rng, language=language) if are_known else None
            if placed is not None:
                break
        questions = ask_all(scene, rng, language=language)
        asked = [Turn(question=place, answer=thing) for place, thing in placed.holds] + [
            Turn(question=each.text, answer=each.answer)
            for each in questions
            if each.kind in self.kinds
        ]
        turns = [asked[i] for i in rng.permutation(len(asked))[:LOOKUPS_A_SAMPLE].tolist()]
        turns[0] = replace(turns[0], question=f"{placed.text}\n{turns[0].question}")
        return UnderstandingSample(images=(), turns=tuple(turns))


def _scene_to_plan(rng: np.random.Generator) -> Scene:
    choice = rng.random()
    if choice < PLANS_PAIRS:  # only these can be captioned by how they lie to one another
        return sample_scene(rng, num_objects=2, identical=False)
    return sample_scene(rng, identical=True if choice < PLANS_PAIRS + PLANS_ALIKE else None)


@dataclass(frozen=True, kw_only=True)
class ScenePlans(Unrendered):
    """Captions, answered by what to draw for them: the same with a place for every object.

    A scene is one of many that its caption allows, so the answers are a distribution over layouts.
    """

    name = "scene plans"

    def sample(self, row: int, rng: np.random.Generator) -> UnderstandingSample:  # noqa: ARG002
        """Some captions with their plans, each on its own."""
        turns = tuple(self._turn(rng) for _ in range(PLANS_A_SAMPLE))
        return UnderstandingSample(images=(), turns=turns, are_independent=True)

    def _turn(self, rng: np.random.Generator) -> Turn:
        planned = None
        while planned is None:
            scene = _scene_to_plan(rng)
            planned = planned_caption(
                scene, rng, language=_language(rng), placed=PLANS_PLACED, plain=PLANS_PLAIN
            )
        return Turn(question=planning_question(planned.text), answer=planned.plan)


def scene_questions(config: SourceConfig) -> list[WeightedSource]:
    """Questions about a folder of scenes."""
    options = build_record(QuestionOptions, config.options, where=config.path)
    scenes = SceneFolder(Path(config.path))
    make = partial(SceneQuestions, scenes=scenes, options=options, name=config.path)
    return [
        WeightedSource(make(rows=rows), config.weight * share)
        for rows, share in options.groups(scenes, config.path)
    ]


def scene_drawings(config: SourceConfig) -> list[WeightedSource]:
    """Captions of a folder of scenes, with latents.

    Raises:
        DataError: latents are missing or of other scenes, or a share has no scene.
    """
    options = build_record(DrawingOptions, config.options, where=config.path)
    scenes = SceneFolder(Path(config.path))
    latents = _latents(options.latents, scenes)
    make = partial(SceneDrawings, scenes=scenes, latents=latents, options=options, name=config.path)
    planned = options.planned
    is_placed = scenes.are_placed() if planned else np.zeros(len(scenes), dtype=bool)
    drawings = []
    for rows, share in options.groups(scenes, config.path):
        clear = rows[is_placed[rows]]
        if planned and not len(clear):
            raise DataError(
                f"planned={planned}: of some share, no scene has clear places. Set planned to 0."
            )
        drawings += [
            WeightedSource(make(rows=kept, planned=is_planned), config.weight * share * part)
            for kept, is_planned, part in ((rows, False, 1 - planned), (clear, True, planned))
            if part
        ]
    return drawings


def unrendered(kind: type[Any], config: SourceConfig) -> list[WeightedSource]:
    """A source without files; its fields are the options."""
    return [WeightedSource(build_record(kind, config.options, where=config.path), config.weight)]


def _latents(path: Path | None, scenes: SceneFolder) -> np.ndarray | None:
    if path is None:
        return None
    if not path.is_file():
        raise DataError(f"no latents at {path}: run the recipe's VAE step first.")
    latents = np.load(path, mmap_mode="r")
    if len(latents) != len(scenes):
        raise DataError(
            f"{path} has {len(latents)} latents for {len(scenes)} scenes: run the recipe's VAE "
            "step again on these scenes."
        )
    return latents


def pixel_values(images: np.ndarray) -> Float[Tensor, "n c y x"]:
    """Turn uint8 images [n, row, column, rgb] into values in [-1, 1]."""
    pixels = torch.from_numpy(images.astype(np.float32)) / 127.5 - 1.0
    return pixels.permute(0, 3, 1, 2).contiguous()


def _pixels(scenes: SceneFolder, row: int) -> Float[Tensor, "c y x"]:
    return pixel_values(scenes.images[row][None])[0]


def _language(rng: np.random.Generator) -> Language:
    return "en" if rng.random() < 0.5 else "ko"
