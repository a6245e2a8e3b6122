"""easy-VQA from a package file made up here: read as it is, refused when missing."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from janusflow.config.errors import DataError
from janusflow.mini.training.easy_vqa import PACKAGE, EasyVqa
from janusflow.mini.training.sources import MAX_TURNS

QUESTIONS = {
    "train": [[f"question {i}?", f"answer {i}", 4] for i in range(20)] + [["what?", "red", 7]],
    "test": [["which?", "circle", 0]],
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Images of one grey level each: ten times their number."""
    with zipfile.ZipFile(tmp_path / PACKAGE.file_name, "w") as archive:
        for split, rows in QUESTIONS.items():
            archive.writestr(f"easy_vqa/data/{split}/questions.json", json.dumps(rows))
            for index in {row[2] for row in rows}:
                image = io.BytesIO()
                Image.new("RGB", (64, 64), (10 * index,) * 3).save(image, "PNG")
                archive.writestr(f"easy_vqa/data/{split}/images/{index}.png", image.getvalue())
    return tmp_path / PACKAGE.file_name


def test_a_split_holds_its_own_questions_and_images(wheel: Path):
    test = EasyVqa(wheel, "test")
    assert test.questions == [("which?", "circle", 0)]
    assert set(test.images) == {0}
    train = EasyVqa(wheel, "train")
    assert len(train.questions) == 21
    assert train.images[7].getpixel((0, 0)) == (70, 70, 70)


def test_a_sample_is_a_image_with_questions_about_it_each_on_its_own(wheel: Path):
    train, rng = EasyVqa(wheel, "train"), np.random.default_rng(0)
    answers = {(q, index): a for q, a, index in train.questions}
    for sample in [train.sample(row, rng) for row in range(len(train))]:
        index = round((float(sample.images[0][0, 0, 0]) + 1) * 127.5) // 10
        assert torch.equal(sample.images[0], sample.images[0][:1, :1, :1].expand(3, 64, 64))
        assert [answers[turn.question, index] for turn in sample.turns] == [
            turn.answer for turn in sample.turns
        ]
        assert len(set(sample.turns)) == len(sample.turns) == (MAX_TURNS if index == 4 else 1)
        assert sample.are_independent


def test_a_missing_file_names_the_step_that_fetches_it(tmp_path: Path):
    with pytest.raises(DataError, match="run the recipe's easy_vqa step"):
        EasyVqa(tmp_path / PACKAGE.file_name, "train")
