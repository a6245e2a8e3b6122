"""The tasks `fid` and `mjhq`: drawn images as a set, against a set of real ones.

What is drawn, or was drawn before, is compared with a folder by FID and KID on the features of a
network that the user names, and with its prompts by CLIP.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.core.reading import identity, read_json_object, read_prompt_lines
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.scores import Measurement, mean
from janusflow.evaluation.core.tasks import Drawn, Item, Row, ScoreSet, Task, ToDraw, first_of_each
from janusflow.evaluation.drawing.clip import ClipScorer
from janusflow.evaluation.drawing.distances import frechet_distance, kernel_distance
from janusflow.evaluation.drawing.features import images_in, load_features

KIND = "image"
KID_FACTOR = 1000
CLIP_SCORE = "CLIP score"

References = Mapping[str, Sequence[Path]]
"""Real images by kind."""


def fid(options: TaskOptions) -> Task:
    """Images of prompts (a text file, one a line) against any folder of images."""
    prompts: list[ToDraw] = []
    if options.drawn is None or options.data is not None:
        prompts = [
            ToDraw(id=f"{index:05d}", kind=KIND, prompt=prompt, seed=options.seed + index)
            for index, prompt in enumerate(read_prompt_lines(options.path("data")))
        ]
    elif options.clip is not None:
        raise ConfigError(f"--clip {options.clip} needs the prompts: name them by --data.")
    protocol = "Images as a set against a folder of images."
    _require_measure("fid", options)
    references = {}
    if options.features is not None:
        references = {KIND: images_in(options.path("images"), option="--images")}
    return _task("fid", options, prompts, references, protocol=protocol)


def mjhq(options: TaskOptions) -> Task:
    """MJHQ-30K's prompts (meta_data.json) against its images, by category and overall."""
    _require_measure("mjhq", options)
    prompts, references = [], dict[str, list[Path]]()
    for index, (name, entry) in enumerate(read_json_object(options.path("data"))):
        if not re.fullmatch(r"[\w-]+", name):
            raise entry.wrong(f"id {name[:60]!r}, wanted letters and digits")
        kind, prompt = entry.get("category", str), entry.get("prompt", str)
        prompts.append(ToDraw(id=name, kind=kind, prompt=prompt, seed=options.seed + index))
        if options.features is not None:
            image = options.path("images") / kind / f"{name}.jpg"
            if not image.is_file():
                raise DataError(f"{entry.where}: there is no image {image}. Name other --images.")
            references.setdefault(kind, []).append(image)
    protocol = "MJHQ-30K: an image a prompt, against the benchmark's images as a set."
    return _task("mjhq", options, prompts, references, protocol=protocol)


def _require_measure(name: str, options: TaskOptions) -> None:
    if options.features is None and options.clip is None:
        raise ConfigError(
            f"{name} got neither --features (for FID and KID) nor --clip (for the CLIP score): "
            "wanted one of them or both, see docs/evaluation.md."
        )


def _task(
    name: str,
    options: TaskOptions,
    prompts: Sequence[ToDraw],
    references: References,
    *,
    protocol: str,
) -> Task:
    items = _drawn_or_to_draw(options, first_of_each(prompts, options.limit))
    settings: dict[str, Any] = {} if options.data is None else identity(options.data)
    if options.drawn is None:
        settings["seed"] = options.seed
    else:
        settings["drawn"] = f"{options.drawn.name}, {len(items)} images"
    score_set = None
    if options.features is not None:
        _require_sets(items, references)
        number = sum(map(len, references.values()))
        settings["images"] = f"{options.path('images').name}, {number} images"
        score_set, settings["features"] = _set_scores(options, references)
        settings["resolution"] = options.resolution
    scorer = None if options.clip is None else ClipScorer(options.clip)
    settings["clip"] = options.clip

    def judge(item: ToDraw | Drawn, image: Image.Image) -> dict[str, Any]:
        if scorer is None:
            return {}
        value = scorer(image, item.prompt)
        return {"clip": value, "why": f"{CLIP_SCORE} {value:.1f}"}

    def score(rows: Sequence[Row]) -> list[Measurement]:
        if scorer is None:
            return []
        return [mean(CLIP_SCORE, [row["clip"] for row in rows], is_share=False)]

    return Task(
        name=name,
        protocol=protocol,
        settings=settings,
        items=items,
        judge=judge,
        score=score,
        score_set=score_set,
    )


def _drawn_or_to_draw(options: TaskOptions, prompts: Sequence[ToDraw]) -> list[Item]:
    if options.drawn is None:
        return list(prompts)
    files = images_in(options.drawn, option="--drawn")
    if options.data is None:
        return [
            Drawn(id=f"{index:05d}", kind=KIND, prompt=path.name, image=path)
            for index, path in enumerate(files[: options.limit])
        ]
    by_name = {path.stem: path for path in files}
    missing = [item.id for item in prompts if item.id not in by_name]
    if missing:
        raise DataError(
            f"--drawn {options.drawn}: got no image of {len(missing)} prompts, the first is "
            f"{missing[0]}. Images are named as a prompt's id: {missing[0]}.png."
        )
    return [
        Drawn(id=item.id, kind=item.kind, prompt=item.prompt, image=by_name[item.id])
        for item in prompts
    ]


def _require_sets(items: Sequence[Item], references: References) -> None:
    numbers = Counter(item.kind for item in items)
    for kind, images in references.items():
        for number, what in ((numbers[kind], "to compare"), (len(images), "--images")):
            if number < 2:
                raise DataError(f"{kind}: got {number} images {what}, wanted at least 2.")


def _set_scores(options: TaskOptions, references: References) -> tuple[ScoreSet, str]:
    """FID and KID of what was drawn, and the name of the network; references are read once."""
    network = load_features(options.features or "", sha256=options.features_sha256)
    real_kinds = np.array([kind for kind, images in references.items() for _ in images])

    @cache
    def real_features() -> Float[np.ndarray, "m d"]:
        files = [path for images in references.values() for path in images]
        return network.features(files, resolution=options.resolution, called="--images")

    def score_set(rows: Sequence[Row], folder: Path) -> list[Measurement]:
        files = [folder / row["image"] for row in rows]
        real = real_features()
        made = network.features(files, resolution=options.resolution, called="drawn")
        made_kinds = np.array([row["kind"] for row in rows])
        measured = []
        for kind in references if len(references) > 1 else ():
            of_kind = made[made_kinds == kind]
            value = frechet_distance(of_kind, real[real_kinds == kind])
            measured.append(_measured(f"FID {kind}", value, len(of_kind)))
        return [
            *measured,
            _measured("FID", frechet_distance(made, real), len(made)),
            _measured(f"KID x {KID_FACTOR}", KID_FACTOR * kernel_distance(made, real), len(made)),
        ]

    return score_set, network.name


def _measured(name: str, value: float, number: int) -> Measurement:
    return Measurement(name=name, value=value, num_items=number, is_share=False)
