"""How much drawings of the same prompts differ, beside true renders of those prompts.

A reward may teach a model to draw one picture a prompt, and shares of right drawings only rise by
it. So ShapesEval draws a few prompts with many seeds and counts what it sees.

The effective number of values is the exponential of their entropy: n for n values equally often, 1
for a single one. An entropy is that of one prompt's drawings, or of one prompt's objects of one
kind in them, and the mean over prompts counts each by its drawings. Few samples make entropies too
small. True renders are therefore counted as drawings are: one render of the same prompt stands
beside each drawing, and of its objects those count that the drawing has too. The ratio of both is
free of most of that: compare models by it, at equal numbers of drawings.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import exp, log
from statistics import fmean

import numpy as np
from PIL import Image

from janusflow.config.records import build_record
from janusflow.evaluation.core.scores import Measurement, mean, ratio, resampled
from janusflow.evaluation.core.tasks import Row
from janusflow.evaluation.shapes.prompts import ShapePrompt
from janusflow.mini.scenes.backgrounds import read_background
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.render import COLOUR_RGB
from janusflow.mini.scenes.scene import POSITIONS, Background, Scene, SceneObject

NUM_SETS = 10
"""Sets of true renders that are averaged, so that nearly all noise is the drawings' own."""
Sample = tuple[Hashable, Hashable]
"""A group, and a value found in it."""


@dataclass(frozen=True, kw_only=True)
class SeenObject:
    """What may vary of an object; `kind` is its colour and shape."""

    kind: str
    size: str
    place: str
    """One of the 3x3 cells."""
    rgb: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What may vary of an image."""

    pattern: str
    background: str
    """Pattern and tones."""
    objects: tuple[SeenObject, ...]


def look(image: Image.Image) -> Seen:
    """Read an image.

    Raises:
        ImageError: it is not square, or smaller than 32 pixels a side.
    """
    objects = [_seen(each.thing, each.rgb) for each in look_at(image)]
    return _of(read_background(image), objects)


def shown(scene: Scene) -> Seen:
    """What a true render of a scene shows."""
    objects = [_seen(thing, COLOUR_RGB[thing.colour]) for thing in scene.objects]
    return _of(scene.background, objects)


def _seen(thing: SceneObject, rgb: Sequence[float | int]) -> SeenObject:
    column, row = (min(int(3 * centre), 2) for centre in (thing.x, thing.y))
    red, green, blue = map(float, rgb)
    return SeenObject(
        kind=f"{thing.colour} {thing.shape}",
        size=thing.size,
        place=POSITIONS[3 * row + column],
        rgb=(red, green, blue),
    )


def _of(background: Background | None, objects: Sequence[SeenObject]) -> Seen:
    kind, tones = ("none", ()) if background is None else (background.kind, background.tones)
    return Seen(pattern=kind, background=" ".join((kind, *tones)), objects=tuple(objects))


def variety_of(
    images: Sequence[Image.Image], *, prompts: Sequence[Hashable] | None = None
) -> dict[str, float]:
    """The variety of images: four effective numbers, and the spread of colours.

    Effective numbers grow with the number of images: compare at equal numbers.

    Args:
        images: square, of at least 32 pixels a side.
        prompts: what each image was drawn from, so that it is compared with those of the same;
            None where all were drawn from one.

    Returns:
        `backgrounds`, `patterns`, `sizes`, `places`: effective numbers, 0 where there is nothing
        (no object in any image). `colours`: see `colour_distances`, their mean.

    Raises:
        ImageError: an image has another form.
    """
    groups = [None for _ in images] if prompts is None else prompts
    seen = [look(image) for image in images]
    numbers = {
        trait: effective_number(list(chain(*by_image)))
        for trait, by_image in _samples(groups, seen).items()
    }
    distances = colour_distances(seen)
    return numbers | {"colours": fmean(distances) if distances else 0.0}


def effective_number(samples: Sequence[Sample]) -> float:
    """The exponential of the mean entropy within groups; 0 without samples."""
    return exp(fmean(surprises(samples))) if samples else 0.0


def surprises(samples: Sequence[Sample]) -> list[float]:
    """Of each sample, minus the logarithm of its value's share in its group.

    Their mean is the mean entropy of groups, each weighted by its number of samples.
    """
    groups, values = Counter(group for group, _ in samples), Counter(samples)
    return [log(groups[group] / values[group, value]) for group, value in samples]


def colour_distances(seen: Sequence[Seen]) -> list[float]:
    """How far each object's RGB (0 to 255) is from the mean of all objects called that colour.

    True renders have 0, for every colour word is one RGB.
    """
    by_colour: dict[str, list[tuple[float, float, float]]] = {}
    for thing in (thing for each in seen for thing in each.objects):
        by_colour.setdefault(thing.kind.split()[0], []).append(thing.rgb)
    tables = [np.array(of_colour) for of_colour in by_colour.values()]
    return [
        distance
        for table in tables
        for distance in np.linalg.norm(table - table.mean(0), axis=1).tolist()
    ]


def _samples(groups: Sequence[Hashable], images: Sequence[Seen]) -> dict[str, list[list[Sample]]]:
    """What each image adds to each count; objects are grouped by kind too."""
    samples = {trait: [] for trait in ("backgrounds", "patterns", "sizes", "places")}
    for group, seen in zip(groups, images, strict=True):
        of_objects = [((group, thing.kind), thing) for thing in seen.objects]
        samples["backgrounds"].append([(group, seen.background)])
        samples["patterns"].append([(group, seen.pattern)])
        samples["sizes"].append([(of_kind, thing.size) for of_kind, thing in of_objects])
        samples["places"].append([(of_kind, thing.place) for of_kind, thing in of_objects])
    return samples


def variety_scores(
    rows: Sequence[Row], prompts: Mapping[str, ShapePrompt], *, seed: int
) -> list[Measurement]:
    """Variety of drawings, of true renders and their ratio: of each prompt, and of each plan.

    Places are left out of the second: plans decide them.

    Args:
        rows: the drawings, with what `look` saw of them.
        prompts: by the rows' kinds.
        seed: of the true renders.
    """
    if not rows:
        return []
    rng = np.random.default_rng(seed)
    read = [build_record(Seen, row["seen"], where=row["id"]) for row in rows]
    asked = [prompts[row["kind"]] for row in rows]
    drawn = [_among(seen, shown(prompt.scene)) for seen, prompt in zip(read, asked, strict=True)]
    pairs = list(zip(asked, drawn, strict=True))
    sets = [
        [_among(shown(prompt.arranged_anew(rng).scene), seen) for prompt, seen in pairs]
        for _ in range(NUM_SETS)
    ]
    scores = _compared("variety of {}", [row["kind"] for row in rows], drawn, sets)
    if any(row["plan"] is not None for row in rows):
        plans = [(row["kind"], row["plan"]) for row in rows]
        of_plans = _compared("variety of {}, same plan", plans, drawn, sets)
        scores += [score for score in of_plans if "places" not in score.name]
    distances = colour_distances(read)
    return scores + ([mean("spread of colours", distances, is_share=False)] if distances else [])


def _among(seen: Seen, others: Seen) -> Seen:
    """Those of an image's objects that another one has too, with their numbers."""
    left = Counter(thing.kind for thing in others.objects)
    kept = []
    for thing in seen.objects:
        if left[thing.kind]:
            left[thing.kind] -= 1
            kept.append(thing)
    return replace(seen, objects=tuple(kept))


def _compared(
    name: str, groups: Sequence[Hashable], drawn: Sequence[Seen], sets: Sequence[Sequence[Seen]]
) -> list[Measurement]:
    """Three measurements a trait, a drawing with all its objects being one independent item."""
    of_sets = [_samples(groups, images) for images in sets]
    scores = []
    for trait, by_image in _samples(groups, drawn).items():
        table = _sums(by_image)
        true = [_sums(of_set[trait])[:, 0] for of_set in of_sets]
        columns = np.column_stack([table[:, 0], np.mean(true, axis=0), table[:, 1]])
        named = name.format(trait)
        for suffix, signs in {"": [1, 0], ", true renders": [0, 1], ", ratio": [1, -1]}.items():
            scores.append(
                resampled(
                    named + suffix,
                    columns.tolist(),
                    lambda sums, signs=signs: np.exp(ratio(sums[:, :2] @ signs, sums[:, 2])),
                    is_share=False,
                )
            )
    return scores


def _sums(by_image: Sequence[Sequence[Sample]]) -> np.ndarray:
    """Of each image: the sum of its samples' surprises, and how many there are."""
    told = iter(surprises(list(chain(*by_image))))
    return np.array([[sum(next(told) for _ in samples), len(samples)] for samples in by_image])
