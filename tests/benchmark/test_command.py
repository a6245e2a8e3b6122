"""`janusflow bench` as a person runs it: a table, JSON, an exit code for outputs that differ."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_sides import TINY
from click.testing import Result
from typer.testing import CliRunner

from janusflow.benchmark import running, weights
from janusflow.benchmark.comparing import Difference
from janusflow.benchmark.running import Measured, Plan
from janusflow.cli.main import build_app

Bench = Callable[..., Result]


@pytest.fixture
def bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs the command on the tiny folder, under the name of the scaled one."""
    monkeypatch.setitem(weights.SIZES, "scaled", TINY)
    link = folder.parent / "scaled"
    if not link.exists():
        link.symlink_to(folder)
    # Two commands: typer drops the name of a lone one.
    app = build_app({"bench": "janusflow.cli.bench", "eval": "janusflow.cli.eval"})

    def run(*arguments: object) -> Result:
        here = ["--folder", folder.parent, "--device", "cpu"]
        return CliRunner().invoke(app, ["bench", *map(str, [*here, *arguments])])

    return run


def test_ours_is_measured_above_its_floor(bench: Bench, tmp_path: Path):
    """The one test with real processes."""
    file = tmp_path / "found.json"
    small = ("--steps", 1, "--tokens", 2, "--images", 1, "--repeats", 1)
    result = bench("--cases", "load,velocity,ask", *small, "--output", file)
    assert result.exit_code == 0, result.output
    assert "velocity, batch 1: processor time, s" in result.stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = {(row["case"], row["quantity"]): row for row in found["rows"]}
    assert all(row["official"] is None and row["ours"] > 0 for row in rows.values())
    assert rows["velocity, batch 1", "processor time"]["floor"] > 0
    assert ("ask, images 1", "per token") in rows


@pytest.mark.parametrize(
    ("largest", "options", "expected"),
    [(0.0, (), 0), (1e-3, (), 1), (1e-3, ("--quantize", "int8"), 0)],
)
def test_outputs_that_differ_fail_unless_they_are_rounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, largest: float, options: tuple, expected: int
):
    apart = Difference(name="velocity", largest=largest, relative=largest)
    ceilings = {"flops_per_second": 1.0, "bytes_per_second": 1.0}

    def found(plan: Plan, **_: object) -> Measured:
        return Measured(answers={}, differences={"velocity, batch 1": apart}, ceilings=ceilings)

    monkeypatch.setattr(running, "run", found)
    assert bench("--cases", "velocity", *options).exit_code == expected
    told = json.loads(bench("--cases", "velocity", "--json", *options).stdout)
    assert told["request"]["dtype"] == "float32"
    assert told["differences"]["velocity, batch 1"]["largest"] == largest


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("--cases", "paint"), 1, "'paint'"),
        (("--batches", "one"), 2, "whole numbers"),
        (("--official", "/nowhere"), 1, "no janus/janusflow"),
    ],
)
def test_a_mistake_is_told_in_a_line(bench: Bench, arguments: tuple, exit_code: int, told: str):
    result = bench(*arguments)
    assert result.exit_code == exit_code
    assert told in result.stderr
