"""`janusflow bench` as a person runs it: a line a case, or JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app

SMALL = ("--steps", 1, "--tokens", 2, "--repeats", 1, "--device", "cpu")


def bench(*arguments: object) -> Result:
    # Two commands: typer drops the name of a lone one.
    app = build_app({"bench": "janusflow.cli.bench", "eval": "janusflow.cli.eval"})
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_every_case_has_a_line_with_its_time_and_memory(tiny_folder: Path):
    result = bench(tiny_folder, *SMALL, "--batch", 2)
    assert result.exit_code == 0, result.output
    labels = [line.partition(":")[0] for line in result.stdout.splitlines()]
    assert labels == ["load", "image, batch 2", "ask, images 1"]
    assert all("cpu seconds" in line and "peak gb" in line for line in result.stdout.splitlines())


def test_json_holds_the_times_of_tokens(tiny_folder: Path):
    found = json.loads(bench(tiny_folder, *SMALL, "--only", "ask", "--json").stdout)
    assert found.keys() == {"load", "ask, images 1"}
    assert all(value > 0 for timing in found.values() for value in timing.values())
    assert found["ask, images 1"].keys() > {"first_token_seconds", "token_seconds"}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("--only", "paint"), 2, "'paint'"),
        (("--images", "0"), 2, "--images"),
        (("nowhere", "--only", "load"), 1, "nowhere"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments: tuple, exit_code: int, told: str):
    result = bench(*arguments)
    assert result.exit_code == exit_code
    assert told in result.stderr
