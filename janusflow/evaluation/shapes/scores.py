"""ShapesEval's scores: shares of its rows, and what true renders say about judge and distance."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from janusflow.evaluation.core.scores import Measurement, mean, mean_of_groups, shares
from janusflow.evaluation.core.tasks import Row
from janusflow.evaluation.drawing.distances import frechet_distance
from janusflow.evaluation.shapes.prompts import Category, ShapePrompt, names_of
from janusflow.evaluation.shapes.tower import Tower, from_texts
from janusflow.mini.language.words import LANGUAGES
from janusflow.mini.scenes.naming import named_objects
from janusflow.mini.scenes.render import render


def category_scores(drawn: Sequence[Row]) -> list[Measurement]:
    """The share right of each category and language, and each language's mean of categories."""
    scores = shares([(row["kind"], row["right"]) for row in drawn])[:-1]
    for language, rows in _by_language(drawn).items():
        tables: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            tables.setdefault(row["category"], []).append((float(row["right"]), 1.0))
        scores.append(mean_of_groups(f"mean of categories {language}", tables))
    return scores


def own_image_scores(drawn: Sequence[Row]) -> list[Measurement]:
    """How often a description of its own image names what was asked for, and what is there.

    What is there is what the detector found, so that a wrong image may be described rightly.
    """
    return shares(
        [
            (f"own image {row['language']}, {what}", is_named)
            for row in drawn
            for what, is_named in (
                ("as asked", row["then"]["right"]),
                ("as drawn", row["then"]["named"] == row["found"]),
            )
        ]
    )[:-1]


def plan_scores(drawn: Sequence[Row]) -> list[Measurement]:
    """How often the plans name exactly the objects that were asked for; nothing without plans."""
    planned = [row for row in drawn if row["plan"] is not None]
    named = [(f"plans {row['language']}", _names_what_is_wanted(row)) for row in planned]
    return shares(named)[:-1] if named else []


def _names_what_is_wanted(row: Row) -> bool:
    """Plans need not be in the language of their prompts."""
    named = sum((named_objects(row["plan"], language=each) for each in LANGUAGES), Counter())
    return names_of(named) == row["wanted"]


def outline_scores(drawn: Sequence[Row], true: Sequence[float | None]) -> list[Measurement]:
    """How well objects fill their shapes' outlines: 1 is a perfect fit. Empty images have none."""
    of_drawings = {
        language: [row["outline"] for row in rows] for language, rows in _by_language(drawn).items()
    }
    return [
        mean(f"outlines {name}", overlaps)
        for name, values in {**of_drawings, "of true renders": true}.items()
        if (overlaps := [value for value in values if value is not None])
    ]


def question_scores(answers: Sequence[Row]) -> list[Measurement]:
    """The share of right answers in all, by language, and by what is asked."""
    named = [("questions", row["right"]) for row in answers]
    for of in ("language", "asks"):
        named += [(f"questions {row[of]}", row["right"]) for row in answers]
    return shares(named)[:-1]


def true_render_scores(
    prompts: Mapping[Category, Sequence[ShapePrompt]],
    drawn: Sequence[Row],
    *,
    seed: int,
    size: int,
    tower: Tower,
) -> list[Measurement]:
    """How often the detector is right on true renders, and how drawings compare with those.

    The floor is the distance of as many true renders of the same objects in other sizes, places
    and backgrounds, which no prompt tells: what a model that draws like the generator would get.
    """
    rng = np.random.default_rng(seed)
    named, outlines, true, others = [], [], [], []
    for category, of_category in tqdm(prompts.items(), desc="true renders"):
        images = [render(prompt.scene, size=size) for prompt in of_category]
        for prompt, image in zip(of_category, images, strict=True):
            verdict = prompt.judge(image)
            named.append((f"detector, {category}", verdict["right"]))
            outlines.append(verdict["outline"])
        true.append(tower.features(images))
        anew = [render(prompt.arranged_anew(rng).scene, size=size) for prompt in of_category]
        others.append(tower.features(anew))
    truth = np.concatenate(true)
    sets = {
        language: from_texts([row["features"] for row in rows])
        for language, rows in _by_language(drawn).items()
    } | {"floor": np.concatenate(others)}
    distances = [
        Measurement(
            name=f"tower distance {name}",
            value=frechet_distance(features, truth),
            num_items=len(features),
            is_share=False,
        )
        for name, features in sets.items()
        if len(features) > 1
    ]
    return [*outline_scores(drawn, outlines), *distances, *shares(named)[:-1]]


def _by_language(drawn: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in drawn:
        groups.setdefault(row["language"], []).append(row)
    return groups
