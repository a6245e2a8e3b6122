"""What a stage learns from: sources of each kind with their weights. Nothing is opened here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from janusflow.config.errors import ConfigError
from janusflow.config.model import require_positive
from janusflow.config.training import Precision


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source: what its rows look like, where they are, how much of its kind it makes."""

    format: str
    """Name of the layout; docs/training.md shows a row of each."""
    path: str
    """File, pattern of files, folder, or the id of a data set on the hub."""
    images: Path | None = None
    """Folder that relative image paths start from; by default that of `path`."""
    weight: float = 1.0
    """Share among the sources of its kind, against their weights."""
    redraw: str | None = None
    """Of images to draw: instead of the prompt the model sees the image itself with these words,
    e.g. "Describe the picture.", and draws it again (RecA, arXiv 2509.07295)."""
    options: dict[str, Any] = field(default_factory=dict)
    """What only this format knows, e.g. the names of columns."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ConfigError(
                f"weight={self.weight} of {self.path} must be above 0: leave it out instead."
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The sources of a stage by the kind of sample they make."""

    understanding: tuple[SourceConfig, ...] = ()
    """Images with questions and answers, or with captions."""
    generation: tuple[SourceConfig, ...] = ()
    """Prompts with the images to draw."""
    text: tuple[SourceConfig, ...] = ()
    """Plain text."""
    crops: int | None = None
    """Squares of an image to draw that are learnt, spread evenly along its longer side (1: the
    centre); None takes one anywhere, another each time."""
    cache: Path | None = None
    """Folder of latents and features that `janusflow data cache` has computed."""
    cached_features: Precision = "fp32"
    """What features are kept as; bf16 takes half the room."""

    def __post_init__(self) -> None:
        if self.crops is not None:
            require_positive(self, "crops")
        if self.cached_features not in get_args(Precision):
            raise ConfigError(f"cached_features={self.cached_features} must be fp32 or bf16.")
        if self.cache is not None and self.generation and self.crops is None:
            raise ConfigError(
                f"cache={self.cache} with crops=null: say how many squares of each image are "
                "learnt, e.g. crops=1 where images are square; the cache holds each."
            )
