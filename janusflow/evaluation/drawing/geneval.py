"""The task `geneval`: are the prompt's objects, numbers, colours and places in the image?

The logic is that of github.com/djghosh13/geneval (Ghosh et al. 2023), on whatever finds objects
and names their colours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from janusflow.config.errors import NotFiniteError
from janusflow.evaluation.core.reading import Entry, entries_of, read_json_lines
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.scores import (
    Measurement,
    mean_of_groups,
    share_of_sums,
    sums_by_item,
)
from janusflow.evaluation.core.tasks import Row, Task, ToDraw
from janusflow.evaluation.drawing.judges import (
    Detection,
    ObjectJudge,
    drawings_of,
    load_judge,
    settings_of,
)

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
RELATIONS = ("left of", "right of", "above", "below")
THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9
MAX_OBJECTS = 16
POSITION_THRESHOLD = 0.1
"""Centres closer than this share of both sizes are beside one another in no direction."""


def geneval(options: TaskOptions) -> Task:
    """GenEval's prompts (evaluation_metadata.jsonl), four images each."""
    prompts = []
    for entry in read_json_lines(options.path("data")):
        kind, prompt = entry.one_of("tag", TAGS), entry.get("prompt", str)
        facts = {name: _clauses(entry, name) for name in ("include", "exclude")}
        prompts.append((kind, prompt, facts))
    judge = load_judge(options.judge, _official)

    def verdict(item: ToDraw, image: Image.Image) -> dict[str, Any]:
        objects = keep_certain(judge.detect(image), is_counting=item.kind == "counting")
        reasons = mismatches(image, objects, item.facts, judge)
        return {"right": not reasons, "why": "; ".join(reasons)}

    return Task(
        name="geneval",
        protocol="GenEval: the mean of six categories, four images a prompt; intervals are over "
        "prompts.",
        settings=settings_of(options),
        items=drawings_of(prompts, options),
        judge=verdict,
        score=geneval_scores,
    )


def keep_certain(
    found: Mapping[str, Sequence[Detection]], *, is_counting: bool
) -> dict[str, list[Detection]]:
    """The most certain objects of every name, best first; counting asks for more certainty.

    Raises:
        NotFiniteError: a box or a score is not finite, which no threshold would tell.
    """
    threshold = COUNTING_THRESHOLD if is_counting else THRESHOLD
    for name, objects in found.items():
        for each in objects:
            if not np.isfinite((*each.box, each.score)).all():
                raise NotFiniteError(
                    f"the judge found {name} in {each.box} with score {each.score}, wanted finite "
                    "numbers: judge in float32, or name another judge."
                )
    kept = {
        name: sorted((each for each in objects if each.score > threshold), key=lambda d: -d.score)[
            :MAX_OBJECTS
        ]
        for name, objects in found.items()
    }
    return {name: objects for name, objects in kept.items() if objects}


def mismatches(
    image: Image.Image,
    objects: Mapping[str, list[Detection]],
    wanted: Mapping[str, Any],
    judge: ObjectJudge,
) -> list[str]:
    """Why an image is not what its prompt says; nothing if it is.

    Every clause of `include` takes its number of the most certain objects of its name; colour and
    place are asked of those. Clauses of `exclude` name numbers that are too many.
    """
    reasons: list[str] = []
    groups: list[list[Detection] | None] = []
    for clause in wanted["include"]:
        group = objects.get(clause["class"], [])[: clause["count"]]
        reason = _mismatch(image, group, clause, groups, judge)
        groups.append(group if reason is None else None)
        if reason is not None:
            reasons.append(reason)
    for clause in wanted["exclude"]:
        number = len(objects.get(clause["class"], []))
        if number >= clause["count"]:
            reasons.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    return reasons


def _mismatch(
    image: Image.Image,
    group: list[Detection],
    clause: Mapping[str, Any],
    groups: list[list[Detection] | None],
    judge: ObjectJudge,
) -> str | None:
    name, count = clause["class"], clause["count"]
    if len(group) < count:
        return f"expected {name}>={count}, found {len(group)}"
    if "color" in clause:
        colours = list(judge.colours(image, group, name))
        if colours.count(clause["color"]) < count:
            return f"expected {clause['color']} {name}>={count}, found {', '.join(colours)}"
    if "position" in clause:
        relation, target = clause["position"]
        others = groups[target]
        if others is None:
            return f"no target for {name} to be {relation}"
        for one in group:
            for other in others:
                found = relations(one, other)
                if relation not in found:
                    places = " and ".join(sorted(found)) or "nowhere beside"
                    return f"expected {name} {relation} target, found {places} target"
    return None


def relations(one: Detection, other: Detection) -> set[str]:
    """Where the first object lies, seen from the second."""
    corners: Float[np.ndarray, "2 2 2"] = np.array([one.box, other.box]).reshape(2, 2, 2)
    offset = corners[0].mean(0) - corners[1].mean(0)
    sizes = np.abs(np.diff(corners, axis=1)).sum((0, 1))
    beyond = np.maximum(np.abs(offset) - POSITION_THRESHOLD * sizes, 0) * np.sign(offset)
    if np.all(np.abs(beyond) < 1e-3):
        return set()
    right, down = beyond / np.linalg.norm(offset)
    is_so = (right < -0.5, right > 0.5, down < -0.5, down > 0.5)
    return {relation for relation, holds in zip(RELATIONS, is_so, strict=True) if holds}


def geneval_scores(rows: Sequence[Row]) -> list[Measurement]:
    """Every category's share of right images, and the mean of categories."""
    by_tag: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        by_tag.setdefault(row["kind"], []).append((row["id"].split("-")[0], float(row["right"])))
    tables = {tag: sums_by_item(images) for tag, images in by_tag.items()}
    each = [share_of_sums(tag, table) for tag, table in tables.items()]
    return [*each, mean_of_groups("overall", tables)]


def _clauses(entry: Entry, name: str) -> list[dict[str, Any]]:
    if name == "exclude" and name not in entry.values:
        return []
    clauses = entries_of(entry, name)
    for index, clause in enumerate(clauses):
        clause.get("class", str)
        clause.get("count", int)
        if "position" in clause.values:
            place = clause.get("position", list)
            is_known = len(place) == 2 and place[0] in RELATIONS
            if not is_known or place[1] not in range(index):
                raise clause.wrong(
                    f"position={place}, wanted [{', '.join(RELATIONS)}; an earlier clause]"
                )
    return [dict(clause.values) for clause in clauses]


def _official(folder: str) -> ObjectJudge:
    from janusflow.evaluation.drawing.geneval_official import OfficialJudge

    return OfficialJudge(folder)
