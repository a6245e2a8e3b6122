"""The task `geneval`: are the prompt's objects, numbers, colours and places in the image?

Images are drawn into the folders that github.com/djghosh13/geneval (Ghosh et al. 2023) reads, its
evaluate_images.py judges them in an environment of its own, and the file it writes is scored here.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from janusflow.config.errors import ConfigError
from janusflow.config.files import replace_text
from janusflow.evaluation.core.reading import Entry, identity, read_json_lines
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.scores import (
    Measurement,
    mean_of_groups,
    share_of_sums,
    sums_by_item,
)
from janusflow.evaluation.core.tasks import Judged, Row, Task, first_of_each
from janusflow.evaluation.drawing.judges import IMAGES_PER_PROMPT, drawings_of

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
IMAGE_NAME = "{prompt:05d}/samples/{sample:04d}"
"""Where evaluate_images.py looks for an image, beside its prompt's metadata.jsonl."""
PROTOCOL = (
    "GenEval: the mean of six categories, four images a prompt; intervals are over prompts. Images "
    "are judged by the official evaluate_images.py, whose results --judge names."
)


def geneval(options: TaskOptions) -> Task:
    """GenEval's prompts (evaluation_metadata.jsonl) to draw, or the results of its judge to score.

    Raises:
        ConfigError: `--judge` names no file of results.
        DataError: a line of either file is not in its format.
    """
    return _drawing(options) if options.judge is None else _scoring(options, options.judge)


def _drawing(options: TaskOptions) -> Task:
    data = options.needed("data")
    prompts = []
    for entry in read_json_lines(data):
        kind, prompt = entry.one_of("tag", TAGS), entry.get("prompt", str)
        entry.get("include", list)
        prompts.append((kind, prompt, {"metadata": dict(entry.values)}))
    return Task(
        name="geneval",
        protocol=PROTOCOL,
        settings={**identity(data), "seed": options.seed},
        items=drawings_of(prompts, options, name=IMAGE_NAME),
        judge=lambda *_: {},
        score=lambda _: [],
        score_set=write_metadata,
    )


def _scoring(options: TaskOptions, judge: str) -> Task:
    path = Path(judge)
    if not path.is_file():
        raise ConfigError(
            f"--judge {judge}: geneval judges nothing by itself, for its detector needs mmdet 2 "
            "and an older PyTorch. Wanted the file that the official evaluate_images.py writes: "
            "see docs/evaluation.md."
        )
    if options.data is not None:
        raise ConfigError(
            f"got --data {options.data} and --judge {judge}: the first draws, the second scores "
            "what was drawn. Name one of them."
        )
    items = sorted(map(_judged, read_json_lines(path)), key=lambda item: item.id)
    return Task(
        name="geneval",
        protocol=PROTOCOL,
        settings=identity(path),
        items=first_of_each(items, options.limit and IMAGES_PER_PROMPT * options.limit),
        judge=lambda item, _: dict(item.verdict),
        score=geneval_scores,
    )


def _judged(entry: Entry) -> Judged:
    image, verdict = entry.get("filename", str), entry.values.get("correct")
    folders = Path(image).parts[:-1]
    if len(folders) < 2 or not folders[-2].isdigit():
        raise entry.wrong(f"filename={image[-60:]!r}, wanted .../PROMPT/samples/IMAGE.png")
    if not isinstance(verdict, bool):
        raise entry.wrong(f"correct={verdict}, wanted true or false")
    return Judged(
        id=f"{folders[-2]}/samples/{Path(image).stem}",
        kind=entry.one_of("tag", TAGS),
        prompt=entry.get("prompt", str),
        image=image,
        verdict={"right": verdict, "why": entry.get("reason", str)},
    )


def write_metadata(rows: Sequence[Row], folder: Path) -> list[Measurement]:
    """Leave every prompt's metadata.jsonl beside its images; nothing is measured yet."""
    for row in rows:
        path = folder / row["id"].partition("/")[0] / "metadata.jsonl"
        replace_text(path, json.dumps(row["metadata"]) + "\n")
    return []


def geneval_scores(rows: Sequence[Row]) -> list[Measurement]:
    """Every category's share of right images, and the mean of categories.

    Compared with summary_scores.py of djghosh13/geneval@af4902f: equal on random results.
    """
    by_tag: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        prompt = row["id"].partition("/")[0]
        by_tag.setdefault(row["kind"], []).append((prompt, float(row["right"])))
    tables = {tag: sums_by_item(images) for tag, images in by_tag.items()}
    each = [share_of_sums(tag, table) for tag, table in tables.items()]
    return [*each, mean_of_groups("overall", tables)]
