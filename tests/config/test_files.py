"""Logs that processes and starts of a run share survive lines that were cut short."""

import json
import multiprocessing
from pathlib import Path

import pytest

from janusflow.config.errors import DataError
from janusflow.config.files import JsonLines, append_line, drop_lines_from

CUT = '{"step": 2, "na'


def test_a_line_cut_short_is_passed_over_and_does_not_swallow_the_next(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    append_line(path, {"step": 1})
    with path.open("a") as file:
        file.write(CUT)
    append_line(path, {"step": 3})
    assert list(JsonLines(path).news()) == [{"step": 1}, {"step": 3}]
    drop_lines_from(path, step=3)
    assert path.read_text() == '{"step": 1}\n'


def test_lines_that_are_no_json_objects_are_passed_over(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\n[1]\n\xff\xfe\n{"step": 1}\n\0\0\0\n')
    assert list(JsonLines(path).news()) == [{"step": 1}]


def test_a_reader_goes_on_where_it_was_and_leaves_a_line_being_written(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    log, other = JsonLines(path), JsonLines(path)
    assert list(log.news()) == []
    other.append({"a": 1}, {"a": 2})
    assert list(log.news()) == [{"a": 1}, {"a": 2}]
    with path.open("a") as file:
        file.write('{"a": 3')
        file.flush()
        assert list(log.news()) == []
        file.write("}\n")
    assert list(log.news()) == [{"a": 3}]
    with path.open("a") as file:
        file.write('{"a": 4')
    assert list(log.news()) == []
    other.append({"a": 5})
    assert list(log.news()) == [{"a": 5}]


def append_numbers(path: Path, first: int) -> None:
    log = JsonLines(path)
    for number in range(first, first + 200):
        log.append({"number": number, "filler": "x" * 9000})


def test_two_writers_lose_nothing_after_a_line_that_was_cut(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"number": -1, "fil')
    writers = [
        multiprocessing.get_context("fork").Process(target=append_numbers, args=(path, first))
        for first in (0, 200)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(line["number"] for line in JsonLines(path).news()) == list(range(400))
    # Both may have ended the cut line: an empty line is none.
    assert all(json.loads(line) for line in path.read_text().splitlines()[1:] if line)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this device")
def test_a_disk_that_is_full_is_one_clear_line():
    with pytest.raises(DataError, match=r"/dev/full cannot be written \(No space left"):
        JsonLines(Path("/dev/full")).append({"a": 1})
