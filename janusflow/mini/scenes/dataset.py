"""Rendered scenes on disk: images as one memory-mapped array, their exact labels beside it.

Only the images are fixed; captions and questions are put into words anew whenever a sample is
drawn. Training compositions only (see scenes.py).
"""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from janusflow.config.errors import DataError
from janusflow.config.records import build_record
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import MAX_OBJECTS, SHAPES, Scene, clear_cell, sample_scene

IMAGES = "pictures.npy"
LABELS = "scenes.jsonl"
KIND_IN_LABEL = re.compile(r'"shape": "(\w+)", "colour": "(\w+)"')
SHAPE_IN_LABEL = re.compile(r'"shape": "(\w+)"')
CENTRE_IN_LABEL = re.compile(r'"x": ([\d.]+), "y": ([\d.]+)')
Progress = Callable[[Iterable[int]], Iterable[int]]


def write_scenes(
    folder: Path, *, num_scenes: int, size: int, seed: int, progress: Progress = iter
) -> None:
    """Render training scenes into `folder`; scene i depends on (seed, i) only.

    The labels are written last, so a folder without them is an unfinished one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LABELS).unlink(missing_ok=True)
    shape = (num_scenes, size, size, 3)
    images = np.lib.format.open_memmap(folder / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
    temporary = folder / (LABELS + ".writing")
    with temporary.open("w", encoding="utf-8") as labels:
        for index in progress(range(num_scenes)):
            scene = sample_scene(np.random.default_rng((seed, index)))
            images[index] = np.asarray(render(scene, size=size))
            labels.write(json.dumps(dataclasses.asdict(scene)) + "\n")
    images.flush()
    os.replace(temporary, folder / LABELS)


class SceneFolder:
    """Random access to what `write_scenes` left."""

    def __init__(self, folder: Path) -> None:
        if not (folder / LABELS).is_file():
            raise DataError(
                f"no rendered scenes in {folder}: run the recipe's scenes step first "
                "(janusflow train mini)."
            )
        self.images = np.load(folder / IMAGES, mmap_mode="r")
        with (folder / LABELS).open(encoding="utf-8") as lines:
            self._labels = lines.readlines()

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def size(self) -> int:
        """Rows and columns of an image, in pixels."""
        return self.images.shape[1]

    def scene(self, index: int) -> Scene:
        """The exact labels of an image."""
        return build_record(Scene, json.loads(self._labels[index]), where=f"scene {index}")

    def by_count(self, shapes: Collection[str] = SHAPES) -> list[np.ndarray]:
        """The scenes of 1, 2, ... objects of these shapes and no others, by index."""
        found = [SHAPE_IN_LABEL.findall(line) for line in self._labels]
        counts = np.array([len(names) if set(names) <= set(shapes) else 0 for names in found])
        return [np.flatnonzero(counts == count) for count in range(1, MAX_OBJECTS + 1)]

    def are_alike(self) -> Bool[np.ndarray, " n"]:
        """Whether all objects of a scene are of one colour and shape, for every scene."""
        kinds = (set(KIND_IN_LABEL.findall(line)) for line in self._labels)
        return np.array([len(found) == 1 for found in kinds])

    def are_placed(self) -> Bool[np.ndarray, " n"]:
        """Whether every object of a scene has a clear `position`, for every scene."""
        return np.array([_is_placed(line) for line in self._labels])

    def image(self, index: int) -> Image.Image:
        """One image, RGB."""
        return Image.fromarray(self.images[index])


def _is_placed(label: str) -> bool:
    centres = CENTRE_IN_LABEL.findall(label)
    return all(clear_cell(float(x), float(y)) is not None for x, y in centres)
