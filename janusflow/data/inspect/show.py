"""A page of samples as the model will get them: pixels from tensors, words from tokens."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from string import Template
from typing import NamedTuple

import torch

from janusflow.data.batches.collate import IGNORE_INDEX, Built, Collator, TrainBatch
from janusflow.data.inspect.check import number_images
from janusflow.data.prepare import Preparation
from janusflow.data.samples import GenerationSample
from janusflow.model.rows import PAD_SEGMENT, PREFIX_BRANCH
from janusflow.processing.images import to_images
from janusflow.processing.pages import embedded, read_style

TEMPLATE = Path(__file__).with_name("show.html")


class Piece(NamedTuple):
    """Neighbouring tokens of a sample that are alike."""

    kind: str
    """words, special, learnt, image or drawing; the page's style has a class for each."""
    token_ids: list[int]
    start: int
    """Of the first token in its sample's row."""
    position: int
    """Position id of the first token."""
    branch: int


def build_page(
    built: Sequence[Built],
    collate: Collator,
    prepare: Preparation,
    *,
    name: str,
    model: str,
    seed: int,
    num_bad: int,
) -> str:
    """A page of samples of a recipe or file (`name`), as the tokenizer of `model` has them."""
    batch = collate.pack(built)
    num_rows, length = batch.rows.segment_ids.shape
    padding = float((batch.rows.segment_ids == PAD_SEGMENT).float().mean())
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=read_style(),
        name=escape(name),
        model=escape(model),
        seed=seed,
        num_bad=num_bad,
        num_samples=len(built),
        num_rows=num_rows,
        length=f"{length:,}",
        row_tokens=f"{collate.row_tokens:,}",
        padding=f"{padding:.1%}",
        rows="\n".join(strips(batch, built, collate)),
        samples="\n".join(
            _figure(number, each, collate, prepare) for number, each in enumerate(built)
        ),
        version=version("janusflow"),
    )


def pieces(built: Built, collate: Collator) -> list[Piece]:
    """A sample's tokens, cut where they change from one kind or branch to another."""
    row = built.row
    special = collate.tokenizer.get_added_tokens_decoder()

    def kind(place: int) -> str:
        if row.is_drawing[place]:
            return "drawing"
        if row.token_ids[place] == collate.config.image_token_id:
            return "image"
        if row.labels[place] != IGNORE_INDEX:
            return "learnt"
        return "special" if row.token_ids[place] in special else "words"

    alike = groupby(range(len(row)), key=lambda place: (kind(place), row.branches[place]))
    found = [(key, list(places)) for key, places in alike]
    return [
        Piece(
            kind=name,
            token_ids=[row.token_ids[place] for place in places],
            start=places[0],
            position=row.position_ids[places[0]],
            branch=branch,
        )
        for (name, branch), places in found
    ]


def strips(batch: TrainBatch, built: Sequence[Built], collate: Collator) -> Iterator[str]:
    """Every packed row as a bar, each piece as wide as it is long."""
    cut = [pieces(each, collate) for each in built]
    for samples in batch.rows.segment_ids.tolist():
        in_order = list(dict.fromkeys(number for number in samples if number != PAD_SEGMENT))
        bars = [
            f'<a href="#sample-{number}" class="{piece.kind}{"" if piece.start else " first"}" '
            f'style="flex: {len(piece.token_ids)}" title="sample {number}: {_told(piece)}"></a>'
            for number in in_order
            for piece in cut[number]
        ]
        num_padding = samples.count(PAD_SEGMENT)
        bars.append(f'<a class="padding" style="flex: {num_padding}" title="padding"></a>')
        yield f'<div class="row">{"".join(bars)}</div>'


def _figure(number: int, built: Built, collate: Collator, prepare: Preparation) -> str:
    sample = built.sample
    is_drawn = isinstance(sample, GenerationSample)
    images = (
        to_images(torch.stack(number_images(sample)))
        if is_drawn
        else [prepare.image_processor.to_image(each) for each in number_images(sample)]
    )
    shown = "".join(embedded(each, alt=f"image of sample {number}") for each in images)
    what = type(sample).__name__.removesuffix("Sample").lower()
    drawn = (
        f"<small>prompt: {escape(sample.prompt)}<br>seed {sample.seed}</small>" if is_drawn else ""
    )
    cut = " &middot; cut to fit a row" if built.row.is_cut else ""
    return (
        f'<figure id="sample-{number}"><div>{shown}{drawn}</div><div><h3>{number}: {what}</h3>'
        f"<small>{len(built.row):,} tokens{cut}</small>"
        f'<div class="tokens">{_tokens(pieces(built, collate), collate)}</div></div></figure>'
    )


def _tokens(cut: list[Piece], collate: Collator) -> str:
    """Words with what is special or learnt marked; each branch on a line of its own."""
    parts, branch = [], PREFIX_BRANCH
    for piece in cut:
        if piece.branch != branch:
            branch = piece.branch
            parts.append(f"<br><small>branch {branch}, position {piece.position}:</small> ")
        parts.append(f'<span class="{piece.kind}" title="{_told(piece)}">')
        parts.append(f"{escape(_text(piece, collate))}</span>")
    return "".join(parts)


def _text(piece: Piece, collate: Collator) -> str:
    length = len(piece.token_ids)
    if piece.kind == "image":
        return f"image, {length} tokens"
    if piece.kind == "drawing":
        return f"time, then the noisy latent, {length - 1} tokens"
    return collate.tokenizer.decode(piece.token_ids, skip_special_tokens=False)


def _told(piece: Piece) -> str:
    first, number = piece.start, len(piece.token_ids)
    branch = "" if piece.branch == PREFIX_BRANCH else f", branch {piece.branch}"
    return (
        f"{piece.kind}, {number} tokens from {first}, positions {piece.position} to "
        f"{piece.position + number - 1}{branch}"
    )
