"""Images to draw that are seen instead of described: reconstruction alignment.

RecA (arXiv 2509.07295): what the model understands of an image stands where its prompt would, and
the loss is that of drawing. No captions are needed, and no new loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.data.batches.mixture import Kind
from janusflow.data.prepare import Preparation
from janusflow.data.samples import GenerationSample, Sample
from janusflow.data.sources.base import Source, WeightedSource


def redrawn(sample: Sample, words: str, *, image_tag: str) -> GenerationSample:
    """The sample with its image, and some words, instead of its prompt.

    As for REPA, the tower sees what the VAE encodes.

    Raises:
        DataError: neither the image's pixels nor its features are there.
    """
    assert isinstance(sample, GenerationSample)
    shown = sample.pixel_values if sample.features is None else sample.features
    if shown is None:
        raise DataError(
            f"redraw={words!r:.40} without pixels or features of the image: leave data.cache out, "
            "or have it keep features (objective.alignment: repa)."
        )
    return replace(sample, prompt=f"{image_tag}\n{words}", images=(shown,))


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """A plugin's source of images to draw, each seen instead of described."""

    source: Source
    words: str
    image_tag: str

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, row: int, rng: np.random.Generator) -> GenerationSample:
        """Make the row's sample."""
        return redrawn(self.source.sample(row, rng), self.words, image_tag=self.image_tag)


def redrawing(make: Callable[..., Sample], words: str) -> Callable[..., GenerationSample]:
    """What makes samples of a table's rows, each seen instead of described."""

    def made(found: Any, prepare: Preparation, rng: np.random.Generator) -> GenerationSample:
        return redrawn(make(found, prepare, rng), words, image_tag=prepare.image_tag)

    return made


def redrawn_ones(
    opened: Sequence[WeightedSource], words: str | None, image_tag: str
) -> list[WeightedSource]:
    """Sources with every image seen instead of described; without words as they are."""
    if words is None:
        return [*opened]
    seen = partial(Redrawn, words=words, image_tag=image_tag)
    return [each._replace(source=seen(source=cast(Source, each.source))) for each in opened]


def require_redrawable(kind: Kind, config: SourceConfig) -> None:
    """Refuse `redraw` where nothing is drawn.

    Raises:
        ConfigError: the source is not one of images to draw.
    """
    if config.redraw is not None and kind != "generation":
        raise ConfigError(
            f"{config.path}: redraw={config.redraw!r:.40} of a source of {kind}: it is for images "
            "to draw. Move the source to data.generation, or leave redraw out."
        )
