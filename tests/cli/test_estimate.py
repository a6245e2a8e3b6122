"""`janusflow estimate`: memory and times as text and as JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app


def estimate(*arguments: str | Path) -> Result:
    # Two commands: typer drops the name of a lone one.
    app = build_app({"estimate": "janusflow.cli.estimate", "eval": "janusflow.cli.eval"})
    return CliRunner().invoke(app, ["estimate", *map(str, arguments)])


def test_both_dtypes_are_printed_with_memory_and_time(tiny_folder: Path):
    result = estimate(tiny_folder, "--gpu", "l4", "--batch", 2)
    assert result.exit_code == 0, result.output
    for told in ("batch 2, float32", "batch 2, bfloat16", "yes, l4 has 24 GB", "seconds per image"):
        assert told in result.stdout
    assert result.stdout.count("notes") == 1


def test_json_holds_rates_of_the_task(tiny_folder: Path):
    (drawn,) = json.loads(estimate(tiny_folder, "--dtype", "float32", "--json").stdout)
    assert drawn["images_per_second"] == pytest.approx(1 / drawn["seconds_per_image"])
    memory = drawn["memory"]
    assert memory["total"] == memory["weights"] + memory["cache"] + memory["activations"]
    (asked,) = json.loads(
        estimate(tiny_folder, "--task", "ask", "--batch", 2, "--dtype", "float32", "--json").stdout
    )
    assert asked["seconds_to_first_token"] == next(iter(asked["work"].values()))["seconds"]
    assert asked["tokens_per_second"] == pytest.approx(2 / asked["work"]["answer token"]["seconds"])


def test_mini_is_the_model_if_none_is_named():
    assert "mini, generate, batch 1" in estimate("--dtype", "float32").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere: no config.json at hand"),
        (["mini", "--gpu", "h1000"], "did you mean h100"),
        (["mini", "--dtype", "int3"], "dtype='int3'"),
        (["mini", "--batch", "0"], "batch=0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(arguments: list[str], told: str):
    result = estimate(*arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
