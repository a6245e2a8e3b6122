"""The paper's Table 6 as docs/training.md gives it: its commands run and do what they say."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from tiny_recipes import tiny_recipes

import janusflow
from janusflow.config.recipes import StageRecipe
from janusflow.training.recipes import read_recipe, run_recipes

ROOT = Path(__file__).parents[2]
RUNS = "runs/mini"
LOSSES = {
    "A": {"ce_answer", "ce_text", "flow_mse"},
    "B": {"ce_answer", "ce_text", "flow_mse", "repa"},
    "C": {"ce_answer", "ce_text", "flow_mse", "repa"},
    "D": {"ce_answer", "ce_text"},
    "E": {"flow_mse", "repa"},
}
UNDERSTANDING_INPUT = {"B": "shared", "C": "separate"}


def commands() -> dict[str, list[list[str]]]:
    """Of every row the page's commands, each a recipe and its overrides."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        words = shlex.split(line) if line.startswith("janusflow train recipes/mini/") else []
        if words and words[3].startswith(f"run={RUNS}/"):
            found.setdefault(words[3].split("/")[2], []).append(words[2:])
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model to start from, and what it is made of."""
    root = tmp_path_factory.mktemp("ablations")
    for name, tree in tiny_recipes(root).items():
        if name < "6":
            (root / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_recipes(root)
    return root


def test_every_row_is_there_and_its_recipes_take_it():
    assert set(commands()) == set(LOSSES)
    for steps in commands().values():
        for recipe, *overrides in steps:
            assert isinstance(read_recipe(ROOT / recipe, tuple(overrides)), StageRecipe)


@pytest.mark.parametrize("row", ["A", "D", "E"])
def test_the_recipe_at_full_size_takes_a_row_too(row: str):
    ((_, *overrides),) = commands()[row]
    path = ROOT / "recipes" / "janusflow-1.3b" / "stage2.yaml"
    assert isinstance(read_recipe(path, tuple(overrides)), StageRecipe)


def run_row(root: Path, folder: Path, row: str) -> Path:
    """Run the commands of a row on tiny recipes; the last one's run."""
    shares = [{"understanding": 1, "generation": 1, "text": 1}]
    mixture = {"batch_size": 6, "row_tokens": 400, "ratios": shares}
    run = folder
    for recipe, *overrides in commands()[row]:
        name = Path(recipe).stem
        tiny = tiny_recipes(root)["6-stage1" if name == "7-stage2" else name]
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tiny | {"mixture": mixture}), encoding="utf-8")
        (run,) = run_recipes(path, tuple(each.replace(RUNS, str(folder)) for each in overrides))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("row", LOSSES)
def test_a_row_trains_on_exactly_its_losses(root: Path, tmp_path: Path, row: str):
    run = run_row(root, tmp_path, row)
    last = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    known = {"ce_answer", "ce_text", "flow_mse", "repa", "contrastive", "score"}
    assert set(last) & known == LOSSES[row]
    jf = janusflow.load(run, device="cpu")
    assert jf.model.config.understanding_input == UNDERSTANDING_INPUT.get(row, "tower")
    (image,) = jf.generate("a red circle", steps=1, seed=0)
    assert isinstance(jf.ask(image, "What is it?", max_new_tokens=2), str)
