"""Many prompts from a file, drawn into a folder: shared out over processes, and resumable.

Lines are drawn in the same batches however many processes there are and wherever a run broke off,
so the same files come out, to the bit. A batch of which an image is missing is drawn again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from janusflow.config.errors import ConfigError, DataError, ImageError, JanusFlowError
from janusflow.config.keywords import refuse_unknown
from janusflow.inference.drawing.batches import DEFAULT_BATCH_SIZE, GenerationRequest
from janusflow.inference.drawing.metadata import DrawingRecord, read_record, save_image
from janusflow.inference.drawing.planning import plans_first
from janusflow.inference.drawing.prompts import prompt_of
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.drawing.seeds import CANDIDATES_APART
from janusflow.inference.keywords import GENERATE_NAMES
from janusflow.inference.pipeline import CONTROLS, JanusFlow
from janusflow.tuning.active import can_plan
from janusflow.tuning.files import described_adapters

KEYS = {"prompt", "negative_prompt", "seed", "num_images"} | CONTROLS
NOT_CHECKED = {"plan", "device", "dtype", "version", "seed", "upscale"}
"""Fields of a record that a line does not say; seeds are checked by themselves."""


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One line of the file, and the images that it asks for."""

    number: int
    """From 1."""
    request: GenerationRequest

    def paths(self, folder: Path) -> list[Path]:
        """One an image, by the line's number and the image's."""
        count = self.request.num_images
        return [folder / f"{self.number:06d}-{image}.png" for image in range(1, count + 1)]

    def first_records(self, jf: JanusFlow) -> list[DrawingRecord]:
        """One an image, that of its first candidate."""
        records = self.request.records(model=jf.name, adapters=described_adapters(jf.model))
        return records[:: self.request.settings.best_of]

    def is_drawn(self, folder: Path, jf: JanusFlow) -> bool:
        """Whether all images are there, whole, and drawn as the line says by this model."""
        best_of = self.request.settings.best_of
        records = self.first_records(jf)
        for path, wanted in zip(self.paths(folder), records, strict=True):
            try:
                found = read_record(path) if path.is_file() else None
            except ImageError:  # broken, or another program's
                return False
            apart = -1 if found is None else found.seed - wanted.seed
            if found is None or apart not in range(0, best_of * CANDIDATES_APART, CANDIDATES_APART):
                return False
            got, said = asdict(found), asdict(wanted)
            if any(got[name] != said[name] for name in said.keys() - NOT_CHECKED):
                return False
        return True


def read_prompts(path: Path, jf: JanusFlow, defaults: Mapping[str, Any]) -> list[PromptLine]:
    """Read a file of prompts: a JSON object or a plain text a line; empty lines are passed over.

    Args:
        path: of the file, UTF-8.
        jf: is to draw them: what it cannot draw is a bad line.
        defaults: what holds where a line does not say: arguments of `JanusFlow.generate`. Line i,
            from 0, has `seed` + i.

    Raises:
        DataError: the file cannot be read, holds no prompt, or has bad lines: all are named.
    """
    try:
        texts = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): name a file of prompts.") from error
    lines, bad = list[PromptLine](), list[str]()
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            lines.append(_line(number, text.strip(), jf, defaults))
        except (JanusFlowError, TypeError, ValueError) as error:
            bad.append(f"line {number}: {error}")
    if bad:
        raise DataError(f"{path}: {len(bad)} bad lines, nothing was drawn. {' '.join(bad[:20])}")
    if not lines:
        raise DataError(f"{path} holds {len(lines)} prompts: write one a line.")
    return lines


def _line(number: int, text: str, jf: JanusFlow, defaults: Mapping[str, Any]) -> PromptLine:
    said = json.loads(text) if text.startswith("{") else {"prompt": text}
    refuse_unknown("a line of prompts", said, known=sorted(KEYS), names=GENERATE_NAMES)
    if not isinstance(said.get("prompt"), str) or not said["prompt"].strip():
        raise ConfigError(f"prompt={said.get('prompt')!r}: wanted words.")
    given = {**defaults, "seed": defaults["seed"] + number - 1, **said}
    known = {each.name for each in fields(DrawingSettings)}
    settings = DrawingSettings(**{name: given[name] for name in known & given.keys()})
    request = GenerationRequest(
        prompts=(given["prompt"],),
        negative_prompt=given.get("negative_prompt"),
        num_images=given.get("num_images", 1),
        seed=given["seed"],
        settings=settings,
    )
    negative = request.negative_prompt
    prompt_of(jf.model, jf.processor, [*request.prompts, *([] if negative is None else [negative])])
    plans_first(settings, has_learnt=can_plan(jf.model), has_init_image=False)
    return PromptLine(number=number, request=request)


def batches_of(lines: Sequence[PromptLine], size: int) -> Iterator[list[PromptLine]]:
    """Neighbours that differ in prompt and seed alone, up to so many images; at least one line."""

    def shared(line: PromptLine) -> Any:
        asked = line.request
        return asked.negative_prompt, asked.num_images, asked.settings

    for (_, number, _), group in groupby(lines, key=shared):
        alike = [*group]
        step = max(1, size // number)
        for first in range(0, len(alike), step):
            yield alike[first : first + step]


def draw_lines(
    jf: JanusFlow,
    lines: Sequence[PromptLine],
    folder: Path,
    *,
    rank: int = 0,
    world_size: int = 1,
    batch_size: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Draw this process's share of the lines; after every batch, images drawn and passed over.

    Args:
        jf: draws.
        lines: of `read_prompts`, the same in every process.
        folder: gets the images.
        rank: of this process, from 0.
        world_size: processes.
        batch_size: images drawn side by side; to be the same in every process and start.
    """
    for batch in [*batches_of(lines, batch_size or DEFAULT_BATCH_SIZE)][rank::world_size]:
        asked = batch[0].request
        count = asked.num_images * len(batch)
        if all(line.is_drawn(folder, jf) for line in batch):
            yield 0, count
            continue
        paths = [path for line in batch for path in line.paths(folder)]
        seeds = [record.seed for line in batch for record in line.first_records(jf)]
        images = jf.generate(
            [line.request.prompts[0] for line in batch],
            negative_prompt=asked.negative_prompt,
            num_images=asked.num_images,
            seed=seeds,
            batch_size=batch_size,
            **{each.name: getattr(asked.settings, each.name) for each in fields(asked.settings)},
        )
        for image, path in zip(images, paths, strict=True):
            save_image(image, path)
        yield count, 0
