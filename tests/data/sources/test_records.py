"""What stands in a file is what a row holds, however written; else line and cause are told."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import write_json

from janusflow.config.errors import DataError
from janusflow.data.sources.records import read_records
from janusflow.data.sources.tables import open_table

ROWS = [{"image": "0.png", "caption": "réd"}, {"image": "1.png", "caption": "NA"}]
LINES = "\n".join(map(json.dumps, ROWS)) + "\n"
TABLE = "image,caption\n0.png,réd\n1.png,NA\n"


def rows_of(path: Path | str) -> list[dict[str, Any]]:
    table = open_table(str(path))
    return [dict(table[row]) for row in range(len(table))]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", json.dumps(ROWS)),
        ("rows.json", json.dumps(ROWS, indent=1)),
        ("rows.json", LINES),
        ("rows.JSON", json.dumps(ROWS)),
        ("rows.jsonl", LINES + "\n\n"),
        ("rows.JSONL", LINES.replace("\n", "\r\n")),
        ("rows.ndjson", LINES),
        ("rows.csv", TABLE),
        ("rows.CSV", TABLE.replace("\n", "\r\n")),
        ("rows.tsv", TABLE.replace(",", "\t")),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_rows_are_read_however_they_are_written(tmp_path: Path, name: str, content: str, mark: str):
    assert rows_of(written(tmp_path / name, mark + content)) == ROWS


def test_cells_are_the_text_that_stands_there(tmp_path: Path):
    cells = ["NA", "1", "1.50", "007", "True", "", "null", "2024-01-01", ' 5" wide', "nan"]
    for separator, name in ((",", "c.csv"), ("\t", "c.tsv")):
        lines = [f"number{separator}cell", *(f"{i}{separator}{c}" for i, c in enumerate(cells))]
        found = rows_of(written(tmp_path / name, "\n".join(lines)))
        assert [row["cell"] for row in found] == cells
        assert [row["number"] for row in found] == [*map(str, range(len(cells)))]


def test_quotes_are_text_in_a_cell_and_signs_around_one(tmp_path: Path):
    found = rows_of(written(tmp_path / "q.csv", 'a,b\n"x, ""y""\nz",5" wide\n'))
    assert found == [{"a": 'x, "y"\nz', "b": '5" wide'}]
    found = rows_of(written(tmp_path / "q.tsv", 'a\tb\n"x" and y\t"say ""z"""\n'))
    assert found == [{"a": '"x" and y', "b": 'say "z"'}]


def test_no_type_of_one_row_binds_another(tmp_path: Path):
    """Arrow would make dates of texts, floats of whole numbers, and refuse what differs."""
    rows = [
        {"answer": 2, "meta": {"a": 1}},
        {"answer": 2.5, "meta": [1]},
        {"answer": "2024-01-01", "other": None},
        {"answer": ["x", 1], "meta": {"b": {}}},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert rows_of(path) == rows
    assert rows_of(write_json(tmp_path / "rows.json", rows)) == rows


def test_a_list_in_json_is_no_python_objects_but_a_file_in_memory(tmp_path: Path):
    path = write_json(tmp_path / "rows.json", [{"text": "x" * 1000}] * 2000)
    table: Any = open_table(path)
    assert table.table.cache_files
    assert pa.total_allocated_bytes() < 1_000_000
    assert len(table) == 2000
    assert table[1999] == {"text": "x" * 1000}


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path):
    path = tmp_path / "rows.json"
    assert rows_of(write_json(path, ROWS)) == ROWS
    assert rows_of(write_json(path, ROWS[:1])) == ROWS[:1]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.csv", "a,b\n1,2\n1,2,3\n", "line 3 has 3 cells and the header 2: put a cell that"),
        ("c.csv", "a,b\n1,x, y\n1,2\n", "line 2 has 3 cells"),
        ("c.csv", "a,b\n1\n", "line 2 has 1 cells"),
        ("c.tsv", "a\tb\n1\t2\t3\n", "line 2 has 3 cells"),
        ("c.csv", 'a,b\n1,"x\n1,2\n', "unexpected end of data"),
        ("c.csv", "a,b\n1,caf\xe9\n".encode("latin-1"), "save it as UTF-8"),
        ("c.jsonl", '{"a": 1}\n{"a": 2', "line 2 is no JSON"),
        ("c.jsonl", '{"a": 1]\n{"a": 2}\n', "line 1 is no JSON"),
        ("c.json", '[{"a": 1},\n{"a": ', "Expecting value: line 2"),
        ("c.jsonl", "version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer: run"),
        ("c.parquet", "version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer"),
        ("c.tar", "<!DOCTYPE html><html>", r"a web page \(HTML\)"),
    ],
)
def test_a_file_that_breaks_off_or_is_something_else_tells_line_and_cause(
    tmp_path: Path, name: str, content: str | bytes, told: str
):
    path = written(tmp_path / name, content)
    with pytest.raises(DataError, match=rf"cannot read {path}: .*{told}") as error:
        open_table(str(path))
    assert "\n" not in str(error.value)


def test_a_broken_line_among_others_is_a_bad_row(tmp_path: Path):
    table = open_table(str(written(tmp_path / "c.jsonl", '{"a": 1}\n{"a": \n{"a": 3}\n[4]\n')))
    assert [table[0], table[2]] == [{"a": 1}, {"a": 3}]
    broken = r"line 2 is no JSON .*mend it: .*a.: ?'"
    for row, told in ((1, broken), (3, "is no row: wanted an object")):
        with pytest.raises(DataError, match=told):
            table[row]


def test_the_file_is_named_if_there_are_several(tmp_path: Path):
    written(tmp_path / "1.csv", TABLE)
    broken = written(tmp_path / "2.csv", "image,caption\n0.png\n")
    with pytest.raises(DataError, match=f"{broken}: line 2 has 1 cells"):
        open_table(f"{tmp_path}/*.csv")


def test_text_files_may_differ_in_columns(tmp_path: Path):
    files = [written(tmp_path / "1.csv", TABLE), written(tmp_path / "2.csv", "caption\nx\n")]
    assert [row["json"] for row in read_records([*map(str, files)])][-1] == '{"caption": "x"}'


def tar_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_what_is_not_asked_for_in_a_tar_need_not_be_alike_nor_readable(tmp_path: Path):
    """Shards of img2dataset whose .json files differ could not be opened."""
    tar_of(tmp_path / "0.tar", ("a/0.txt", b"red"), ("a/0.json", b'{"w": 1}'), ("a/0.JPG", b"x"))
    tar_of(tmp_path / "1.tar", ("1.txt", b"blue"), ("1.json", b'{"w": "a", "exif": {}}'))
    tar_of(tmp_path / "2.tar", ("2.txt", b"green"), ("2.json", b"{broken"), ("2.cls", b"7"))
    table = open_table(f"{tmp_path}/*.tar")
    assert [table[row]["txt"] for row in range(3)] == ["red", "blue", "green"]
    assert table[0]["jpg"] == b"x"
    assert table[1]["json"] == {"w": "a", "exif": {}}
    assert table[2]["cls"] == "7"
    with pytest.raises(DataError, match=r"its \.json cannot be read"):
        table[2]["json"]


def test_two_files_of_one_sample_and_kind_are_refused(tmp_path: Path):
    tar_of(tmp_path / "0.tar", ("0.txt", b"red"), ("0.txt", b"blue"))
    with pytest.raises(DataError, match="0 has two files of one kind"):
        open_table(f"{tmp_path}/*.tar")


def test_images_in_lists_and_structs_stay_undecoded(tmp_path: Path):
    image = {"bytes": b"no image", "path": None}
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "row": {"image": datasets.Image(), "sound": datasets.Audio()},
        }
    )
    rows = {"images": [[image, image], []], "row": [{"image": image, "sound": None}] * 2}
    path = tmp_path / "rows.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    for streaming in (False, True):
        table = open_table(str(path), streaming=streaming)
        assert table[0]["images"] == [image, image]
        assert table[1]["images"] == []
        assert table[1]["row"]["image"] == image
    pq.write_table(pa.table({"image": [b"x"]}), path)
    assert open_table(str(path))[0] == {"image": b"x"}
