"""A file that is not what its place says is answered by file, place in it, and what was wanted."""

import json
import re
from pathlib import Path

import pytest

from janusflow.config.errors import DataError
from janusflow.evaluation.core.reading import Entry
from janusflow.evaluation.core.registry import TaskOptions, open_task

COCO = {
    "info": {"year": 2014},
    "licenses": [],
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 3}],
}
"""Instances where captions, prompts or questions are wanted."""
FEATURES = "image_networks:MeanColour"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("geneval", "line 1: got info, licenses, images, annotations, wanted tag (text)"),
        ("dpg", "wanted columns item_id, text, proposition_id"),
        ("dsg", "wanted columns item_id, text, proposition_id"),
        ("mjhq", ", info: got year, wanted category (text)"),
        ("fid", "got JSON, wanted a text file with a prompt a line"),
    ],
)
def test_coco_instances_are_no_tasks_data(task: str, message: str, tmp_path: Path):
    path = tmp_path / "instances_val2014.json"
    path.write_text(json.dumps(COCO), encoding="utf-8")
    of_sets = {"features": FEATURES, "images": tmp_path} if task in ("fid", "mjhq") else {}
    options = TaskOptions(model=lambda: None, data=path, **of_sets)
    with pytest.raises(DataError, match=re.escape(message)) as refused:
        open_task(task, options)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("content", ["", "[]", "7", "plain words", "\x00\ufffd"])
@pytest.mark.parametrize("task", ["geneval", "dpg", "dsg", "mjhq"])
def test_what_holds_nothing_of_the_format_is_one_line_with_the_file(
    task: str, content: str, tmp_path: Path
):
    path = tmp_path / "data"
    path.write_text(content, encoding="utf-8")
    features = FEATURES if task == "mjhq" else None
    judge = "builtins:dict" if task in ("dpg", "dsg") else None
    options = TaskOptions(model=lambda: None, data=path, features=features, judge=judge)
    with pytest.raises(DataError, match=re.escape(str(path))) as refused:
        open_task(task, options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("caption", str, "f, line 1: got text, count, flag, wanted caption (text)"),
        ("count", str, "count='3', wanted text"),
        ("flag", int, "flag='True', wanted a whole number"),
        ("text", list, "text='a', wanted a list"),
    ],
)
def test_a_value_of_another_kind_is_named(name: str, kind: type, message: str):
    entry = Entry(where="f, line 1", values={"text": "a", "count": 3, "flag": True})
    with pytest.raises(DataError, match=re.escape(message)):
        entry.get(name, kind)
