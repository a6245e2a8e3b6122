"""Which scenes of a folder a source draws, and how often, by its options."""

import numpy as np

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.mini.scenes.scene import SHAPES
from janusflow.mini.training.options import probability, some_of


def groups(scenes: SceneFolder, config: SourceConfig) -> list[tuple[np.ndarray, float]]:
    """Rows by their number of objects with each number's weight; in one if no shares are given.

    With `alike`, those of several are parted once more.

    Raises:
        DataError: a share has no scene, or no scene is left.
        ConfigError: `alike` without shares, or not between 0 and 1.
    """
    shares = config.options.get("shares")
    alike = None
    if "alike" in config.options:
        alike = probability("alike", config, otherwise=0.0)
        if shares is None:
            raise ConfigError(f"{config.path}: alike={alike} without shares: say both.")
    shapes = some_of(SHAPES, "shapes", config)
    by_count = scenes.by_count(shapes)
    if shares is None:
        rows = np.sort(np.concatenate(by_count))
        if not len(rows):
            raise DataError(f"{config.path}: no scene has only {', '.join(shapes)}. Name more.")
        return [(rows, config.weight)]
    for number, share in enumerate(shares, start=1):
        if share and (number > len(by_count) or not len(by_count[number - 1])):
            raise DataError(
                f"shares={shares}: no scene has {number} objects, all of them {', '.join(shapes)}. "
                "Set that share to 0."
            )
    weights = [config.weight * share / sum(shares) for share in shares]
    groups = [(rows, weight) for rows, weight in zip(by_count, weights, strict=False) if weight]
    return groups if alike is None else _parted(groups, scenes.are_alike(), alike)


def _parted(
    groups: list[tuple[np.ndarray, float]], are_alike: np.ndarray, share: float
) -> list[tuple[np.ndarray, float]]:
    """Give scenes of one kind of object this share of their group, unless no others are in it."""
    parted = []
    for rows, weight in groups:
        is_alike = are_alike[rows]
        if is_alike.all() or not is_alike.any():
            parted.append((rows, weight))
        else:
            parted += [(rows[is_alike], weight * share), (rows[~is_alike], weight * (1 - share))]
    return [(rows, weight) for rows, weight in parted if weight]
