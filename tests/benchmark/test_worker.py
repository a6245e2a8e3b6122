"""One side as a server of requests, and the watch that measures it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from bench_sides import FakeSide

from janusflow.benchmark.cases import CEILINGS, Answer, Request
from janusflow.benchmark.comparing import read_arrays
from janusflow.benchmark.watch import STATUS, Stopwatch
from janusflow.benchmark.worker import serve

REQUEST = Request(case="ask", folder="nowhere", new_tokens=3)
needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="reads Linux's /proc")


def answers_to(requests: list[Request], folder: Path) -> list[Answer]:
    lines = [json.dumps(asdict(request)) for request in requests]
    return [Answer(**json.loads(answer)) for answer in serve(FakeSide(), lines, folder)]


def test_every_request_gets_one_answer_with_its_own_arrays(tmp_path: Path):
    asked, drawn = answers_to([REQUEST, replace(REQUEST, case="velocity", batch=5)], tmp_path)
    assert len(asked.laps) == REQUEST.new_tokens
    assert asked.laps == sorted(asked.laps)
    assert read_arrays(asked)["token_ids"].tolist() == [0, 1, 2]
    assert read_arrays(drawn)["velocity"].shape == (5,)


def test_ceilings_need_no_side_and_are_positive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("janusflow.benchmark.ceilings.ROWS", 8)
    (answer,) = answers_to([replace(REQUEST, case=CEILINGS)], tmp_path)
    assert all(rate > 0 for rate in read_arrays(answer).values())


def test_processor_time_does_not_count_waiting():
    import time

    watch = Stopwatch("cpu")
    with watch:
        time.sleep(0.2)
    assert watch.seconds >= 0.2
    assert watch.cpu_seconds < 0.1


def test_blocks_within_a_block_are_measured_as_one_without_laps():
    import time

    watch = Stopwatch("cpu")
    with watch:
        time.sleep(0.1)
        with watch:
            watch.lap()
    assert watch.seconds >= 0.1
    assert watch.laps == []


def test_the_first_use_is_a_picture_and_a_question_in_one_measurement(tmp_path: Path):
    (answer,) = answers_to([replace(REQUEST, case="first")], tmp_path)
    assert answer.laps == []
    assert read_arrays(answer) == {}


@needs_proc
def test_peak_memory_is_that_of_the_block_alone():
    size = 2**27
    large, small = Stopwatch("cpu"), Stopwatch("cpu")
    with large:
        torch.ones(size, dtype=torch.uint8).sum()
    with small:
        pass
    assert large.peak_bytes - small.peak_bytes > 0.9 * size
