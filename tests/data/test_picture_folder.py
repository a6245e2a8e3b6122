"""Folders of pictures: what is read, and how each wrong folder is answered."""

import json
from pathlib import Path

import pytest
from PIL import Image

from janusflow.config.errors import DataError
from janusflow.data.picture_folder import read_folder


def save_pictures(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8), "red").save(folder / name)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as refused:
        read_folder(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_pictures_come_by_name_with_what_their_txt_says(tmp_path: Path):
    save_pictures(tmp_path, "b.png", "a.JPG", "c.webp")
    (tmp_path / "a.txt").write_text("a red\n square ", encoding="utf-8")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    found = [(each.path.name, each.caption) for each in read_folder(tmp_path).pictures]
    assert found == [("a.JPG", "a red square"), ("b.png", None), ("c.webp", None)]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ((), "it is empty"),
        (("notes.md", "a.pdf"), "no pictures, but 2 other files (a.pdf, notes.md)"),
        (("inner/a.png",), "but some in inner inside it"),
        (("a.png", "b.png"), "2 pictures (a.png, b.png), wanted at least 3"),
        (
            ("a.png", "b.png", "c.png", "d.txt"),
            "1 of 1 .txt files have no picture of their name (d.txt)",
        ),
    ],
)
def test_a_wrong_folder_is_answered_with_what_was_found_and_wanted(
    tmp_path: Path, made: tuple[str, ...], told: str
):
    for name in made:
        if name.endswith(".png"):
            save_pictures((tmp_path / name).parent, Path(name).name)
        else:
            (tmp_path / name).write_text("said")
    assert told in refusal(tmp_path)


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path: Path):
    file = save_pictures(tmp_path, "a.png") / "a.png"
    assert "there is no such folder" in refusal(tmp_path / "none")
    assert "this is a file" in refusal(file)


def test_pictures_that_cannot_be_read_are_named_with_the_first_reason(tmp_path: Path):
    save_pictures(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "b.png").write_bytes(b"<!doctype html>")
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    told = refusal(tmp_path)
    assert "2 of 4 pictures cannot be read (b.png, d.png)" in told
    assert "web page" in told


def asking(**rows: str) -> str:
    """LLaVA's layout: answers by their pictures."""
    said = (("human", "<image>\nWhat is it?"), ("gpt", "{}"))
    return json.dumps(
        [
            {
                "image": name,
                "conversations": [{"from": who, "value": v.format(answer)} for who, v in said],
            }
            for name, answer in rows.items()
        ]
    )


def test_pictures_that_are_asked_about_are_drawn_only_if_a_txt_says_what_they_show(tmp_path: Path):
    save_pictures(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "a.txt").write_text("a mug")
    (tmp_path / "questions.json").write_text(asking(**{"a.png": "blue", "b.png": "red"}))
    pictures, asked = read_folder(tmp_path)
    assert [(each.path.name, each.caption) for each in pictures] == [
        ("a.png", "a mug"),
        ("c.png", None),
    ]
    assert asked == [
        (tmp_path / "a.png", "What is it?", "blue"),
        (tmp_path / "b.png", "What is it?", "red"),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{", "JSONDecodeError"),
        ('[{"picture": "a.png"}]', "KeyError ('image'), wanted LLaVA's layout"),
        ('[{"image": "a.png", "conversations": []}]', "IndexError"),
        ('{"a": 1}', "TypeError"),
        (asking(**{"d.png": "red"}), "asks about d.png, which is not beside it"),
    ],
)
def test_questions_in_another_layout_or_of_no_picture_are_refused(
    tmp_path: Path, said: str, told: str
):
    save_pictures(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "questions.json").write_text(said)
    assert told in refusal(tmp_path)


@pytest.mark.parametrize(("said", "told"), [(b" \n", "empty"), (b"\xff\xfe", "not UTF-8")])
def test_a_txt_that_says_nothing_is_refused(tmp_path: Path, said: bytes, told: str):
    save_pictures(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "b.txt").write_bytes(said)
    assert told in refusal(tmp_path)
