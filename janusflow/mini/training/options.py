"""What a source of scenes may be told in a recipe, and which scenes of a folder it then draws."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

import numpy as np

from janusflow.config.errors import ConfigError, DataError
from janusflow.mini.language.captions import PLACED_PROBABILITY
from janusflow.mini.language.questions import NAMES, Kind, Name
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.mini.scenes.scene import SHAPES, Shape


class SourceOptions:
    """Options whose numbers say how often something is so, and whose lists choose something."""

    def __post_init__(self) -> None:
        for field in fields(self):  # pyright: ignore[reportArgumentType]
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ConfigError(f"{field.name}={value}: wanted a number from 0 to 1.")
            if value == () and field.default != ():
                raise ConfigError(f"{field.name} is empty: name some, or leave it out for all.")


@dataclass(frozen=True, kw_only=True)
class SceneOptions(SourceOptions):
    """Which scenes of a folder are drawn, and how often."""

    shares: tuple[float, ...] | None = None
    """How often one of 1, 2, 3 or 4 objects is; by default as often as it is there."""
    shapes: tuple[Shape, ...] = SHAPES
    """The only ones that occur."""

    def groups(self, scenes: SceneFolder, where: str) -> list[tuple[np.ndarray, float]]:
        """Rows by their number of objects with each number's share; in one without `shares`.

        Raises:
            DataError: a share has no scene, or no scene is left.
        """
        by_count = scenes.by_count(self.shapes)
        if self.shares is None:
            rows = np.sort(np.concatenate(by_count))
            if not len(rows):
                raise DataError(f"{where}: no scene has only {', '.join(self.shapes)}. Name more.")
            return [(rows, 1.0)]
        for number, share in enumerate(self.shares, start=1):
            if share and (number > len(by_count) or not len(by_count[number - 1])):
                raise DataError(
                    f"shares={[*self.shares]}: no scene has {number} objects, all of them "
                    f"{', '.join(self.shapes)}. Set that share to 0."
                )
        shares = [share / sum(self.shares) for share in self.shares]
        return [(rows, share) for rows, share in zip(by_count, shares, strict=False) if share]


@dataclass(frozen=True, kw_only=True)
class QuestionOptions(SceneOptions):
    """Questions about scenes."""

    kinds: tuple[Kind, ...] = get_args(Kind)
    placed_by: tuple[Name, ...] = NAMES
    """What an object whose place is asked is named by."""


@dataclass(frozen=True, kw_only=True)
class DrawingOptions(SceneOptions):
    """Scenes to draw."""

    latents: Path | None = None
    """The file that the VAE step left; without it the stage's VAE encodes the images."""
    alike: float | None = None
    """How many of the scenes of several objects hold one kind alone; by default as are there."""
    placed: float = PLACED_PROBABILITY
    """How often the caption of several objects says where each is, if that is clear."""
    plain: float = 0.0
    """How often it says nothing but colours, shapes and numbers."""
    planned: float = 0.0
    """How many are drawn from plans as `ScenePlans` words them, all of clear places."""

    def groups(self, scenes: SceneFolder, where: str) -> list[tuple[np.ndarray, float]]:
        """With `alike`, scenes of several objects are parted once more, if both sorts are there."""
        groups = super().groups(scenes, where)
        if self.alike is None:
            return groups
        if self.shares is None:
            raise ConfigError(f"{where}: alike={self.alike} without shares: say both.")
        parted, are_alike = [], scenes.are_alike()
        for rows, share in groups:
            is_alike = are_alike[rows]
            if is_alike.all() or not is_alike.any():
                parted.append((rows, share))
            else:
                parted.append((rows[is_alike], share * self.alike))
                parted.append((rows[~is_alike], share * (1 - self.alike)))
        return [(rows, share) for rows, share in parted if share]
