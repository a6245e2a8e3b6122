"""The tasks `fid` and `mjhq`: drawn pictures as a set, against a set of real ones.

What is drawn, or was drawn before, is compared with a folder by FID and KID on the features of a
network that the user names, and with its prompts by CLIP.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.clip import ClipScorer
from janusflow.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    require_torchmetrics,
)
from janusflow.evaluation.features import load_features, pictures_in
from janusflow.evaluation.reading import entries_by_key, identity, read_json, read_values
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import Measurement, mean
from janusflow.evaluation.tasks import Drawn, Item, Row, ScoreSet, Task, ToDraw, first_of_each

KIND = "picture"
KID_FACTOR = 1000
CLIP_SCORE = "CLIP score"

References = Mapping[str, Sequence[Path]]
"""Real pictures by kind."""


def fid(options: TaskOptions) -> Task:
    """Pictures of prompts (a text file, one a line) against any folder of pictures."""
    is_bare = options.drawn is not None and options.data is None
    if is_bare and options.clip is not None:
        raise ConfigError(f"--clip {options.clip} needs the prompts: name them by --data.")
    prompts = [] if is_bare else _prompts(options.path("data"), seed=options.seed)
    return _task(
        "fid",
        options,
        prompts,
        protocol="Pictures as a set against a folder of pictures.",
        find_references=lambda: {KIND: pictures_in(options.path("pictures"), option="--pictures")},
    )


def mjhq(options: TaskOptions) -> Task:
    """MJHQ-30K's prompts (meta_data.json) against its pictures, by category and overall."""
    path = options.path("data")
    entries = entries_by_key(read_json(path))
    for name, entry in entries.items():
        if not re.fullmatch(r"[\w-]+", name):
            raise entry.wrong(f"id {name[:60]!r}, wanted letters and digits")
    prompts = [
        ToDraw(
            id=name,
            kind=entry.get("category", str),
            prompt=entry.get("prompt", str),
            seed=options.seed + index,
        )
        for index, (name, entry) in enumerate(entries.items())
    ]

    def references() -> References:
        found: dict[str, list[Path]] = {}
        folder = options.path("pictures")
        for item in prompts:
            picture = entries[item.id].picture(folder, f"{item.kind}/{item.id}.jpg")
            found.setdefault(item.kind, []).append(picture)
        return found

    return _task(
        "mjhq",
        options,
        prompts,
        protocol="MJHQ-30K: a picture a prompt, against the benchmark's pictures as a set.",
        find_references=references,
    )


def _prompts(path: Path, *, seed: int) -> list[ToDraw]:
    entries = read_values(path, ["prompt"])
    for entry in entries:
        if not entry.get("prompt", str).strip():
            raise entry.wrong("an empty line, wanted a prompt")
    return [
        ToDraw(id=f"{index:05d}", kind=KIND, prompt=entry.get("prompt", str), seed=seed + index)
        for index, entry in enumerate(entries)
    ]


def _task(
    name: str,
    options: TaskOptions,
    prompts: Sequence[ToDraw],
    *,
    protocol: str,
    find_references: Callable[[], References],
) -> Task:
    if options.features is None and options.clip is None:
        raise ConfigError(
            f"{name} got neither --features (for FID and KID) nor --clip (for the CLIP score): "
            "wanted one of them or both, see docs/evaluation.md."
        )
    items = _drawn_or_to_draw(options, first_of_each(prompts, options.limit))
    settings: dict[str, Any] = {} if options.data is None else identity(options.data)
    if options.drawn is None:
        settings["seed"] = options.seed
    else:
        settings["drawn"] = f"{options.drawn.name}, {len(items)} pictures"
    score_set = None
    if options.features is not None:
        references = find_references()
        _require_sets(items, references)
        number = sum(map(len, references.values()))
        settings["pictures"] = f"{options.path('pictures').name}, {number} pictures"
        score_set, settings["features"] = _set_scores(options, references)
        settings["resolution"] = options.resolution
    scorer = None if options.clip is None else ClipScorer(options.clip)
    settings["clip"] = options.clip

    def judge(item: ToDraw | Drawn, picture: Image.Image) -> dict[str, Any]:
        if scorer is None:
            return {}
        value = scorer(picture, item.prompt)
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
    files = pictures_in(options.drawn, option="--drawn")
    if options.data is None:
        return [
            Drawn(id=f"{index:05d}", kind=KIND, prompt=path.name, picture=path)
            for index, path in enumerate(files[: options.limit])
        ]
    by_name = {path.stem: path for path in files}
    missing = [item.id for item in prompts if item.id not in by_name]
    if missing:
        raise DataError(
            f"--drawn {options.drawn}: got no picture of {len(missing)} prompts, the first is "
            f"{missing[0]}. Pictures are named as a prompt's id: {missing[0]}.png."
        )
    return [
        Drawn(id=item.id, kind=item.kind, prompt=item.prompt, picture=by_name[item.id])
        for item in prompts
    ]


def _require_sets(items: Sequence[Item], references: References) -> None:
    numbers = Counter(item.kind for item in items)
    for kind, pictures in references.items():
        for number, what in ((numbers[kind], "to compare"), (len(pictures), "--pictures")):
            if number < 2:
                raise DataError(f"{kind}: got {number} pictures {what}, wanted at least 2.")


def _set_scores(options: TaskOptions, references: References) -> tuple[ScoreSet, str]:
    """FID and KID of what was drawn, and the name of the network; references are read once."""
    require_torchmetrics()
    network = load_features(options.features or "", sha256=options.features_sha256)
    real_kinds = [kind for kind, pictures in references.items() for _ in pictures]

    @cache
    def real_features() -> torch.Tensor:
        files = [path for pictures in references.values() for path in pictures]
        return network.features(files, resolution=options.resolution, called="--pictures")

    def score_set(rows: Sequence[Row], folder: Path) -> list[Measurement]:
        files = [folder / row["picture"] for row in rows]
        real = real_features()
        made = network.features(files, resolution=options.resolution, called="drawn")
        made_kinds = [row["kind"] for row in rows]
        measured = []
        for kind in references if len(references) > 1 else ():
            of_kind = made[[each == kind for each in made_kinds]]
            value = frechet_distance(of_kind, real[[each == kind for each in real_kinds]])
            measured.append(_measured(f"FID {kind}", value, len(of_kind)))
        return [
            *measured,
            _measured("FID", frechet_distance(made, real), len(made)),
            _measured(f"KID x {KID_FACTOR}", KID_FACTOR * kernel_distance(made, real), len(made)),
        ]

    return score_set, network.name


def _measured(name: str, value: float, number: int) -> Measurement:
    return Measurement(name=name, value=value, num_items=number, is_share=False)
