"""benchmarks/serving_load.py: what counts as the same answer, and a short run of it."""

import asyncio
import base64
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import serving_load
from serving_load import Task


def encoded(level: int) -> str:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (level, 0, 0)).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode("ascii")


def test_texts_are_the_same_to_the_letter_and_images_up_to_rounding():
    chat, image = Task(kind="chat", body={}), Task(kind="image stream", body={})
    assert chat.is_same("a", "a")
    assert not chat.is_same("a", "a ")
    assert image.is_same(encoded(100), encoded(102))
    assert not image.is_same(encoded(100), encoded(103))


def test_half_of_the_times_are_below_the_median():
    times = serving_load.summed([float(number) for number in range(1, 100)], 10.0)
    assert (times.done, times.per_second, times.p50, times.p95) == (99, 9.9, 50.0, 95.0)


@pytest.mark.slow
def test_no_answer_is_lost_or_mixed_up():
    report = asyncio.run(serving_load.measure(clients=8, seconds=10.0, requests=64))
    assert (report.wrong, report.failed) == (0, 0)
    assert report.together["all"].done > 8
    assert report.is_same_after_restart
