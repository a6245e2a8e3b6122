"""The tasks `fid` and `mjhq`: drawn images as a set, against a set of real ones.

What is drawn is compared with a folder by FID and KID on the features of a network that the user
names.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from janusflow.config.errors import DataError
from janusflow.evaluation.core.reading import identity, read_json_object, read_prompt_lines
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.scores import Measurement
from janusflow.evaluation.core.tasks import Row, ScoreSet, Task, ToDraw, first_of_each
from janusflow.evaluation.drawing.distances import frechet_distance, kernel_distance
from janusflow.evaluation.drawing.features import images_in, load_features

KIND = "image"
KID_FACTOR = 1000

References = Mapping[str, Sequence[Path]]
"""Real images by kind."""


def fid(options: TaskOptions) -> Task:
    """Images of prompts (a text file, one a line) against any folder of images."""
    prompts = [
        ToDraw(id=f"{index:05d}", kind=KIND, prompt=prompt, seed=options.seed + index)
        for index, prompt in enumerate(read_prompt_lines(options.needed("data")))
    ]
    references = {KIND: images_in(options.needed("images"))}
    protocol = "Images as a set against a folder of images."
    return _task("fid", options, prompts, references, protocol=protocol)


def mjhq(options: TaskOptions) -> Task:
    """MJHQ-30K's prompts (meta_data.json) against its images, by category and overall."""
    prompts, references = [], dict[str, list[Path]]()
    for index, (name, entry) in enumerate(read_json_object(options.needed("data"))):
        if not re.fullmatch(r"[\w-]+", name):
            raise entry.wrong(f"id {name[:60]!r}, wanted letters and digits")
        kind, prompt = entry.get("category", str), entry.get("prompt", str)
        prompts.append(ToDraw(id=name, kind=kind, prompt=prompt, seed=options.seed + index))
        image = options.needed("images") / kind / f"{name}.jpg"
        if not image.is_file():
            raise DataError(f"{entry.where}: there is no image {image}. Name other --images.")
        references.setdefault(kind, []).append(image)
    protocol = "MJHQ-30K: an image a prompt, against the benchmark's images as a set."
    return _task("mjhq", options, prompts, references, protocol=protocol)


def _task(
    name: str,
    options: TaskOptions,
    prompts: Sequence[ToDraw],
    references: References,
    *,
    protocol: str,
) -> Task:
    items = first_of_each(prompts, options.limit)
    _require_sets(items, references)
    score_set, network = _set_scores(options, references)
    settings: dict[str, Any] = {
        **identity(options.needed("data")),
        "seed": options.seed,
        "images": f"{options.needed('images').name}, {sum(map(len, references.values()))} images",
        "features": network,
        "resolution": options.resolution,
    }
    return Task(
        name=name,
        protocol=protocol,
        settings=settings,
        items=items,
        judge=lambda *_: {},
        score=lambda _: [],
        score_set=score_set,
    )


def _require_sets(items: Sequence[ToDraw], references: References) -> None:
    numbers = Counter(item.kind for item in items)
    for kind, images in references.items():
        for number, what in ((numbers[kind], "to compare"), (len(images), "--images")):
            if number < 2:
                raise DataError(f"{kind}: got {number} images {what}, wanted at least 2.")


def _set_scores(options: TaskOptions, references: References) -> tuple[ScoreSet, str]:
    """FID and KID of what was drawn, and the name of the network; references are read once."""
    network = load_features(options.needed("features"), sha256=options.features_sha256)
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
