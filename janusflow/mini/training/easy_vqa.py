"""easy-VQA (Victor Zhou, MIT licence): questions about images that nobody here wrote.

5,000 images of 64x64 pixels with one shape each, and 48,248 questions with 13 answers. The
data travels as a Python package (data/wheels.py).
"""

import io
import json
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from janusflow.config.data import SourceConfig
from janusflow.config.errors import DataError
from janusflow.data.samples import Turn, UnderstandingSample
from janusflow.data.sources.base import WeightedSource
from janusflow.data.wheels import Wheel
from janusflow.mini.training.sources import MAX_TURNS, pixel_values

PACKAGE = Wheel(
    requirement="easy-vqa==1.0",
    file_name="easy_vqa-1.0-py3-none-any.whl",
    sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
)
Split = Literal["train", "test"]


def easy_vqa_questions(config: SourceConfig) -> list[WeightedSource]:
    """The training questions in a package file, as a recipe's source."""
    return [WeightedSource(EasyVqa(Path(config.path), "train"), config.weight)]


class EasyVqa:
    """One split's images and questions, read from the package file; a row is an image."""

    def __init__(self, wheel: Path, split: Split) -> None:
        self.name = str(wheel)
        if not wheel.is_file():
            raise DataError(f"no {wheel}: run the recipe's easy_vqa step first.")
        with zipfile.ZipFile(wheel) as archive:
            base = f"easy_vqa/data/{split}"
            rows = json.loads(archive.read(f"{base}/questions.json"))
            self.questions: list[tuple[str, str, int]] = [(q, a, index) for q, a, index in rows]
            indices = sorted({index for _, _, index in self.questions})
            self.images = {
                index: Image.open(io.BytesIO(archive.read(f"{base}/images/{index}.png"))).convert(
                    "RGB"
                )
                for index in indices
            }
        self._by_image: dict[int, list[Turn]] = defaultdict(list)
        for question, answer, index in self.questions:
            self._by_image[index].append(Turn(question=question, answer=answer))
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def sample(self, row: int, rng: np.random.Generator) -> UnderstandingSample:
        """One image and up to MAX_TURNS of its questions, for training."""
        index = self._indices[row]
        turns = self._by_image[index]
        chosen = rng.permutation(len(turns))[:MAX_TURNS].tolist()
        return UnderstandingSample(
            images=(pixel_values(np.asarray(self.images[index])[None])[0],),
            turns=tuple(turns[i] for i in chosen),
            are_independent=True,
        )
