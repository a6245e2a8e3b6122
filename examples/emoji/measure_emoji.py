"""Naming and drawing of emoji, measured on what make_emoji_data.py rendered.

Run: python examples/emoji/measure_emoji.py naming --model runs/emoji/drawing2 [--limit 300]
     python examples/emoji/measure_emoji.py drawing --model runs/emoji/drawing2 --output FILE.json

A drawing is judged by looking for the true image nearest to it, in pixels, so that no model's own
features favour it; what this judge makes of true images is measured beside.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from make_emoji_data import DATA, QUESTIONS, SPLITS, Emoji, captions, read_emoji
from PIL import Image

import janusflow
from janusflow.config.errors import JanusFlowError
from janusflow.evaluation.core.reading import identity
from janusflow.evaluation.core.report import lines, save
from janusflow.evaluation.core.runner import RunFiles, run_task
from janusflow.evaluation.core.scores import Measurement, mean, shares
from janusflow.evaluation.core.tasks import Row, Task, ToAnswer, ToDraw
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.interop.vae import decode_images, encode_images, psnr
from janusflow.processing.image_files import open_image
from janusflow.processing.images import to_images, to_latent_range

GRID = 16
"""Rows and columns of means that the judge compares."""
NEAR = 5
"""A label among the nearest so many is told too."""
MAX_ANSWER_TOKENS = 96


def emoji_naming(folder: Path, *, limit: int) -> Task:
    """What is this? Of images in learnt styles and in another, and of emoji never learnt."""
    items = [
        ToAnswer(
            id=f"{split}-{language}-{Path(emoji.image).parent.name}-{emoji.hexcode}",
            kind=f"{split} {language}",
            image=folder / emoji.image,
            question=question,
            system_prompt=None,
            max_new_tokens=MAX_ANSWER_TOKENS,
            facts={"wanted": getattr(emoji, language)},
        )
        for split in SPLITS
        for language, question in QUESTIONS.items()
        for emoji in some_of(read_emoji(folder, split), limit)
    ]
    return Task(
        name="emoji-naming",
        protocol="An answer is right if it is the whole label, in any case.",
        settings=identity(*(folder / f"{split}.jsonl" for split in SPLITS)),
        items=items,
        judge=lambda item, answer: {"right": is_label(answer, item.facts["wanted"])},
        score=lambda rows: shares([(row["kind"], row["right"]) for row in rows])[:-1],
    )


def emoji_drawing(folder: Path, model: Any, *, limit: int, seed: int = 2024) -> Task:
    """Drawings of labels that were learnt and of some that were not, and what the VAE leaves."""
    learnt, unknown = read_emoji(folder, "train"), read_emoji(folder, "held-out-labels")
    judge = Judge(folder, [*learnt, *unknown])
    items = [
        ToDraw(
            id=f"{kind}-{language}-{emoji.hexcode}",
            kind=f"{kind} {language}",
            prompt=captions(emoji)[language],
            seed=seed + number,
            facts={"hexcode": emoji.hexcode},
        )
        for kind, of_kind in (("learnt", learnt), ("unknown", unknown))
        for language in QUESTIONS
        for number, emoji in enumerate(some_of(one_each(of_kind), limit))
    ]

    def verdict(item: ToDraw, image: Image.Image) -> dict[str, Any]:
        nearest = judge.nearest(image)
        rank = judge.rank(image, item.facts["hexcode"])
        return {"right": rank == 0, "rank": rank, "why": f"nearest to {nearest.en}"}

    def score(rows: Sequence[Row]) -> list[Measurement]:
        first = [(row["kind"], row["right"]) for row in rows]
        near = [(f"{row['kind']}, in {NEAR}", row["rank"] < NEAR) for row in rows]
        return [
            *judge_on_true_images(judge, read_emoji(folder, "held-out-style"), limit),
            *rebuilt(model, judge, folder, limit),
            *shares(first)[:-1],
            *shares(near)[:-1],
        ]

    return Task(
        name="emoji-drawing",
        protocol=f"A drawing is right if, as {GRID}x{GRID} means of RGB, the true image nearest "
        f"to it, of {len(judge.emoji)} in the learnt styles, has the label that was asked for.",
        settings={"seed": seed} | identity(*(folder / f"{split}.jsonl" for split in SPLITS)),
        items=items,
        judge=verdict,
        score=score,
    )


def is_label(answer: str, wanted: str) -> bool:
    """Whether an answer is a label, spaces around it and a final period forgiven."""
    return answer.strip().rstrip(".").casefold() == wanted.casefold()


def some_of(emoji: Sequence[Emoji], limit: int) -> list[Emoji]:
    """So many, anyhow but always the same ones."""
    mixed = sorted(emoji, key=lambda each: hashlib.sha256(each.image.encode()).digest())
    return mixed[:limit]


def one_each(emoji: Sequence[Emoji]) -> list[Emoji]:
    """One image of each label."""
    return list({each.hexcode: each for each in emoji}.values())


class Judge:
    """Names an image by the true one nearest to it."""

    def __init__(self, folder: Path, emoji: Sequence[Emoji]) -> None:
        self.folder, self.emoji = folder, list(emoji)
        self._hexcodes = np.array([each.hexcode for each in emoji])
        self._features = np.stack([features(open_image(folder / e.image)) for e in emoji])

    def nearest(self, image: Image.Image) -> Emoji:
        """The true image that is nearest."""
        return self.emoji[int(self._distances(image).argmin())]

    def rank(self, image: Image.Image, hexcode: str, *, without: str | None = None) -> int:
        """How many other labels have an image nearer than any of this one.

        Args:
            image: what is judged.
            hexcode: the label that it should have.
            without: a style that is left out.
        """
        distances = self._distances(image)
        if without is not None:
            distances[[each.style == without for each in self.emoji]] = np.inf
        own = distances[self._hexcodes == hexcode].min()
        return len(set(self._hexcodes[distances < own].tolist()))

    def _distances(self, image: Image.Image) -> Float[np.ndarray, " n"]:
        return ((self._features - features(image)) ** 2).sum(1)


def features(image: Image.Image) -> Float[np.ndarray, " d"]:
    """Means of RGB over a grid of boxes, in [0, 1]."""
    small = image.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
    return (np.asarray(small, dtype=np.float32) / 255).flatten()


def judge_on_true_images(judge: Judge, others: Sequence[Emoji], limit: int) -> list[Measurement]:
    """How often the judge knows an image in a style hidden from it, and one in a new style."""
    named = [
        (name, judge.rank(open_image(judge.folder / e.image), e.hexcode, without=e.style) == 0)
        for name, emoji in (
            ("judge across learnt styles", judge.emoji),
            ("judge on the held-out style", others),
        )
        for e in some_of(emoji, limit)
    ]
    return shares(named)[:-1]


@torch.no_grad()
def rebuilt(model: Any, judge: Judge, folder: Path, limit: int) -> list[Measurement]:
    """What the VAE leaves of true images: PSNR by split, and whether the judge knows them."""
    scores, known = [], []
    for split in SPLITS:
        chosen = some_of(read_emoji(folder, split), limit)
        ratios = []
        for each in chosen:
            image = open_image(folder / each.image).resize((model.image_size,) * 2)
            wanted = to_latent_range(image)[None]
            found = decode_images(model.vae, encode_images(model.vae, wanted)).float().cpu()
            ratios.append(psnr(found, wanted))
            if split == "train":
                (again,) = to_images(found)
                known.append(("judge on rebuilt images", judge.rank(again, each.hexcode) == 0))
        scores.append(mean(f"PSNR in dB, {split}", ratios, is_share=False))
    return [*scores, *shares(known)[:1]]


def main() -> None:
    """Measure one of both, print the scores and write what is wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["naming", "drawing"])
    parser.add_argument("--model", default="runs/emoji/drawing2")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, default=300, help="images or labels a line")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--output", "-o", type=Path, help=".json file, beside it images and a page")
    options = parser.parse_args()
    try:
        model = janusflow.load(options.model)
        task = (
            emoji_naming(options.data, limit=options.limit)
            if options.task == "naming"
            else emoji_drawing(options.data, model, limit=options.limit)
        )
        files = None if options.output is None else RunFiles(report=options.output)
        drawing = DrawingSettings(guidance=options.guidance)
        report = run_task(task, model, name=options.model, drawing=drawing, files=files)
    except JanusFlowError as error:
        sys.exit(f"error: {error}")
    if files is not None:
        save(report, files)
    print(lines(report))


if __name__ == "__main__":
    main()
