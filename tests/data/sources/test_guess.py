"""A file's format is told by the names in it, or asked for."""

from pathlib import Path
from typing import Any

import pytest
from data_files import write_image, write_json, write_lines

from janusflow.config.errors import DataError
from janusflow.data.sources.formats import LAYOUTS
from janusflow.data.sources.guess import guess_format, kinds_of

ROWS: dict[str, Any] = {
    "chat": [{"id": 1, "image": "1.jpg", "conversations": []}],
    "captions": [{"url": "http://", "image": "1.jpg", "caption": "red"}],
    "vqa": [{"image": "1.jpg", "question": "what?", "answer": "red"}],
    "text": [{"text": "red", "url": "http://"}],
    "coco-captions": {"info": {}, "images": [], "annotations": []},
    "vqav2": {"questions": []},
    "gqa": {"1": {"imageId": "1", "question": "what?", "answer": "red"}},
    "journeydb": [{"img_path": "1.jpg", "prompt": "red", "Task2": {"Caption": "red"}}],
    "localized-narratives": [{"dataset_id": "x", "image_id": "1", "caption": "red"}],
}


def test_every_format_is_in_the_table():
    assert ROWS.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_format_is_told_by_its_names(tmp_path: Path, name: str):
    found, names = guess_format(write_json(tmp_path / "rows.json", ROWS[name]))
    assert found == name
    assert set(names) == set(ROWS[name] if isinstance(ROWS[name], dict) else ROWS[name][0])


def test_messages_are_a_chat_also_in_a_table_of_datasets(tmp_path: Path):
    row = {"messages": [{"role": "user", "content": "what?"}]}
    assert guess_format(write_lines(tmp_path / "rows.jsonl", row))[0] == "chat"


def test_a_folder_of_images_with_captions_is_captions(tmp_path: Path):
    write_image(tmp_path / "images" / "1.png")
    write_lines(tmp_path / "images" / "metadata.jsonl", {"file_name": "1.png", "text": "red"})
    assert guess_format(str(tmp_path / "images"))[0] == "captions"


def test_what_cannot_be_told_is_asked_for(tmp_path: Path):
    path = write_json(tmp_path / "rows.json", [{"image": "1.jpg", "title": "red"}])
    with pytest.raises(DataError, match=r"has image, title: say --format, one of chat, captions"):
        guess_format(path)


def test_captions_are_both_asked_for_and_drawn_and_a_chat_is_one_kind():
    assert sorted(kinds_of("captions")) == ["generation", "understanding"]
    assert kinds_of("chat") == ["understanding"]
    assert kinds_of("text") == ["text"]


def test_the_format_of_a_stream_is_told_by_its_first_row_alone(tmp_path: Path):
    write_lines(tmp_path / "0.jsonl", {"text": "red"})
    (tmp_path / "1.jsonl").write_text("{broken", encoding="utf-8")
    assert guess_format(f"{tmp_path}/*.jsonl", streaming=True)[0] == "text"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"img_path": "1.jpg", "prompt": "p", "caption": "c"}, "captions"),
        ({"image_id": "1", "image": "1.jpg", "caption": "c"}, "captions"),
        ({"Image": "1.jpg", "Caption": "c"}, "captions"),
        ({"image": "1.jpg", "text": "t", "question": "q", "answer": "a"}, "vqa"),
    ],
)
def test_of_formats_that_fit_the_one_of_the_plainest_columns_is_taken(
    tmp_path: Path, row: dict[str, str], name: str
):
    assert guess_format(write_json(tmp_path / "rows.json", [row]))[0] == name


def test_rows_by_line_may_be_named_json_and_objects_may_have_many_lines(tmp_path: Path):
    path = tmp_path / "rows.json"
    for number in (1, 2):
        path.write_text('{"text": "red"}\n' * number, encoding="utf-8")
        assert guess_format(str(path))[0] == "text"
    path.write_text('{\n"annotations": [],\n"images": []}', encoding="utf-8")
    assert guess_format(str(path))[0] == "coco-captions"
