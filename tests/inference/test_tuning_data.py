"""What a model adds to a folder of pictures: captions, and drawings that are made once."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import DataError
from janusflow.data.picture_folder import Picture
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.tuning_data import Prior, captioned, write_data
from janusflow.tuning.recipe import DataFiles

PRIOR = [Prior("a dog", ("What colour?", "Describe it.")), Prior("a cat", ("How many?",))]


def rows(file: Path | None) -> list[dict[str, Any]]:
    assert file is not None
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def captions(tmp_path: Path) -> dict[Path, str]:
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        Image.new("RGB", (16, 16), "red").save(path)
    return dict(zip(paths, ("a mug", "the mug"), strict=True))


class Asked:
    """Counts questions, and answers them by their number."""

    def __init__(self, jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions: list[str] = []
        monkeypatch.setattr(jf, "ask", self.ask)

    def ask(self, images: list[Any], questions: list[str], **_settings: Any) -> list[str]:
        assert len(images) == len(questions) > 0
        self.questions += questions
        return [f" answer {number} " for number, _ in enumerate(questions)]


def test_a_picture_has_its_own_caption_else_the_prompt_else_what_the_model_says(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    asked = Asked(jf, monkeypatch)
    pictures = [Picture(Path("a"), "a cat"), Picture(Path("b"), None), Picture(Path("c"), None)]
    assert [*captioned(jf, pictures, prompt="sks").values()] == ["a cat", "sks", "sks"]
    assert asked.questions == []
    told = captioned(jf, pictures, prompt=None)
    assert [*told.values()] == ["a cat", "answer 0", "answer 1"]
    assert len(asked.questions) == 2


def test_without_prior_prompts_only_the_captions_are_written(
    jf: JanusFlow, captions: dict[Path, str], tmp_path: Path
):
    files = write_data(jf, captions, [], tmp_path / "data")
    assert files == DataFiles(own=tmp_path / "data" / "own.jsonl")
    said = [(row["image"], row["caption"]) for row in rows(files.own)]
    assert said == [(str(path), caption) for path, caption in captions.items()]


def test_drawings_and_answers_about_them_are_rows_and_are_made_once(
    jf: JanusFlow, captions: dict[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[tuple[list[str], list[int]]] = []
    generate = jf.generate

    def counted(prompt: list[str], *, seed: list[int], **said: Any) -> list[Image.Image]:
        drawn.append((prompt, seed))
        settings: dict[str, Any] = {**said, "steps": 1}
        return generate(prompt, seed=seed, **settings)

    monkeypatch.setattr(jf, "generate", counted)
    asked = Asked(jf, monkeypatch)
    data = tmp_path / "data"
    files = write_data(jf, captions, PRIOR, data, seed=5)
    assert drawn == [(["a dog", "a cat"], [5, 6])]
    assert [row["caption"] for row in rows(files.prior)] == ["a dog", "a cat"]
    for row in (*rows(files.prior), *rows(files.prior_answers)):
        assert (data / row["image"]).is_file()
    answers = [row["conversations"][1]["value"] for row in rows(files.prior_answers)]
    assert answers == ["answer 0", "answer 1", "answer 2"]
    assert asked.questions == ["What colour?", "Describe it.", "How many?"]
    first = (data / "prior" / "0000.png").read_bytes()
    # What was cut off goes on; a drawing that is there of another prompt is made anew.
    (data / "prior" / "0001.png").unlink()
    write_data(jf, captions, PRIOR, data, seed=5)
    for file in data.glob("prior*.jsonl"):
        file.unlink()
    write_data(jf, captions, [Prior("a bird", ("q",)), PRIOR[1]], data, seed=5)
    assert drawn[1:] == [(["a cat"], [6]), (["a bird"], [5])]
    assert first != (data / "prior" / "0000.png").read_bytes()


def test_a_folder_of_other_captions_is_refused(
    jf: JanusFlow, captions: dict[Path, str], tmp_path: Path
):
    write_data(jf, captions, [], tmp_path / "run" / "data")
    others = dict.fromkeys(captions, "a cup")
    with pytest.raises(DataError, match="other pictures, captions or class prompts") as refused:
        write_data(jf, others, [], tmp_path / "run" / "data")
    assert f"delete {tmp_path / 'run'}." in str(refused.value)


def test_a_model_that_plans_learns_what_is_new_as_it_is_asked_for_and_its_own_plans(
    jf: JanusFlow, captions: dict[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Asked(jf, monkeypatch)
    monkeypatch.setattr(jf.model.config, "plans", True)
    monkeypatch.setattr(jf, "plan", lambda prompts, seeds: [f"{each}, left" for each in prompts])
    files = write_data(jf, captions, [PRIOR[0]], tmp_path / "data")
    assert [row["caption"] for row in rows(files.prior)] == ["a dog, left"]
    own, prior = (
        [[turn["value"] for turn in row["conversations"]] for row in rows(file)]
        for file in (files.own_plans, files.prior_plans)
    )
    assert own == [["Plan: a mug", "a mug"], ["Plan: the mug", "the mug"]]
    assert prior == [["Plan: a dog", "a dog, left"]]
