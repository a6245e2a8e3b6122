"""`janusflow train --dry-run`: costs as text and as JSON; nothing is trained or written."""

import json
from pathlib import Path

import pytest
import yaml
from tiny_stage import stage_tree, write_parts
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app

NOWHERE = [{"format": "captions", "path": "no/where.jsonl"}]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_parts(tmp_path_factory.mktemp("parts"))
    data = {"understanding": NOWHERE, "generation": NOWHERE, "text": NOWHERE}
    path = root / "stage.yaml"
    path.write_text(yaml.safe_dump(stage_tree(root, data=data)), encoding="utf-8")
    return path


def train(*arguments: str | Path) -> Result:
    # Two commands: typer drops the name of a lone one.
    app = build_app({"train": "janusflow.cli.train", "eval": "janusflow.cli.eval"})
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_costs_are_printed_and_nothing_is_written(recipe: Path):
    before = sorted(recipe.parent.rglob("*"))
    result = train(recipe, "loop.steps=7", "--dry-run", "--gpu", "h100", "--gpus", 2)
    assert result.exit_code == 0, result.output
    for told in ("2 x h100", "backward flops", "optimizer", "yes, h100 has 80 GB", "gpu days"):
        assert told in result.stdout
    assert "steps 7" in " ".join(result.stdout.split())
    heading = result.stdout.splitlines()[0]
    assert heading.endswith("; learning rate 0 to 0.0001 in 1 steps, 0.0001 to step 7")
    assert sorted(recipe.parent.rglob("*")) == before


def test_json_holds_what_the_text_tells(recipe: Path):
    settings = ("loop.parallelism.precision=bf16", "loop.parallelism.hsdp_shard_size=0")
    found = json.loads(train(recipe, *settings, "--dry-run", "--json", "--gpus", 2).stdout)
    (stage,) = found["stages"]
    assert (stage["config"]["gpus"], stage["parallelism"]["precision"]) == (2, "bf16")
    assert stage["schedule"] == "learning rate 0 to 0.0001 in 2 steps, 0.0001 to step 10"
    assert stage["memory"]["total"] > stage["memory"]["activations"] > 0
    assert stage["flops"] == 10 * stage["phases"][0]["step_flops"]
    assert found["gpu_days"] == pytest.approx(stage["gpu_days"])


@pytest.mark.parametrize("options", [["--gpus", "2"], ["--json"], ["--text-tokens", "9"]])
def test_options_of_a_dry_run_are_refused_where_they_would_change_nothing(
    recipe: Path, options: list[str]
):
    result = train(recipe, *options)
    assert result.exit_code == 1
    assert "without --dry-run" in result.stderr
    assert not (recipe.parent / "run").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--gpu", "h1000"], "did you mean h100"),
        (
            ["loop.parallelism.hsdp_shard_size=3", "--gpus", "4"],
            "hsdp_shard_size=3 for 4 processes",
        ),
        (["--mfu", "2"], "mfu=2.0"),
        (["--prompt-tokens", "0"], "prompt_tokens=0"),
        (["--gpus", "9"], "8 samples a step for 9 processes"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(recipe: Path, options: list[str], told: str):
    result = train(recipe, "--dry-run", *options)
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
