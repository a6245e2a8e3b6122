"""What a stage learns from: sources of each kind with their weights. Nothing is opened here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janusflow.config.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source: what its rows look like, where they are, how much of its kind it makes."""

    format: str
    """Name of the layout; docs/training.md shows a row of each."""
    path: str
    """File, pattern of files, folder, or the id of a data set on the hub."""
    pictures: Path | None = None
    """Folder that relative picture paths start from; by default that of `path`."""
    weight: float = 1.0
    """Share among the sources of its kind, against their weights."""
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
    """Pictures with questions and answers, or with captions."""
    generation: tuple[SourceConfig, ...] = ()
    """Prompts with the pictures to draw."""
    text: tuple[SourceConfig, ...] = ()
    """Plain text."""
