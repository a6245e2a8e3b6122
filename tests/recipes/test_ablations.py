"""The paper's ablations at mini's scale: arms, tables, and the whole command on tiny parts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from measuring import FIRST_SEED, fresh_items
from PIL import Image
from plotting import plot
from run import BEGIN, END, chosen_arms, main
from tabulating import COMPARISONS, REFERENCE, Results, as_json, difference
from tabulating import tables as tables_of
from tiny_recipes import tiny_recipes
from tiny_run import MODEL

from janusflow.config.errors import DataError
from janusflow.config.records import to_tree
from janusflow.training.recipes import read_stage, run_recipes

GENERATION = json.dumps(MODEL["generation"])
TINY = ("mixture.batch_size=4", f"new.generation={GENERATION}", "new.repa.block=1")
ONE_THING = {
    "no-repa": {"objective"},
    "shared": {"new"},
    "separate": {"new"},
    "bidirectional": {"new"},
    "understanding": {"trainable", "mixture"},
    "generation": {"mixture"},
}


# ---- arms -------------------------------------------------------------------------------------


def test_every_arm_is_compared_and_differs_from_the_reference_in_its_one_thing():
    arms = chosen_arms(None)
    assert set(arms) == {REFERENCE, *ONE_THING}
    assert sorted(ONE_THING) == sorted(arm for each in COMPARISONS for arm in each.arms)
    reference = to_tree(read_stage(arms[REFERENCE]))
    for arm, differing in ONE_THING.items():
        tree = to_tree(read_stage(arms[arm]))
        assert {key for key in tree if tree[key] != reference[key]} == {"run", *differing}


def test_tasks_alone_see_as_much_of_their_kind_in_as_many_steps():
    reference, *alone = (
        read_stage(chosen_arms(None)[arm]) for arm in (REFERENCE, "understanding", "generation")
    )
    (ratio,) = reference.mixture.ratios
    total = ratio.understanding + ratio.generation + ratio.text
    for recipe, kind in zip(alone, ("understanding", "generation"), strict=True):
        expected = reference.mixture.batch_size * getattr(ratio, kind) / total
        assert recipe.mixture.batch_size == expected
        assert recipe.loop == reference.loop


def test_fresh_scenes_are_of_the_world_that_is_learnt_and_always_the_same():
    recipe = read_stage(chosen_arms(None)[REFERENCE])
    options = recipe.data.understanding[0].options
    items = fresh_items(12, recipe, size=64)
    for item in items:
        (thing,) = item.scene.objects
        assert thing.shape in options["shapes"]
        assert {question.kind for question in item.questions} <= set(options["kinds"])
    assert [item.prompt for item in fresh_items(6, recipe, size=64)] == [
        item.prompt for item in items[:6]
    ]
    assert {question.language for item in items for question in item.questions} == {"en", "ko"}
    assert FIRST_SEED != 0  # of the rendered scenes


# ---- tables -----------------------------------------------------------------------------------


def results_of(**arms: Sequence[dict[str, float]]) -> dict[str, dict[int, dict[int, Any]]]:
    """Measured at step 10 with seeds 0, 1, ..."""
    return {
        arm.replace("_", "-"): {seed: {10: values} for seed, values in enumerate(runs)}
        for arm, runs in arms.items()
    }


def tables(results: Results) -> str:
    return tables_of(results, items=100)


def flows(*values: float) -> list[dict[str, float]]:
    return [{"flow": value, "drawn": value / 10} for value in values]


def test_a_table_has_means_and_paired_differences_with_their_intervals():
    """Differences of 1, 1 and 4 around a reference of 1, 2 and 3; 4.303 is t's quantile."""
    text = tables(results_of(reference=flows(1.0, 2.0, 3.0), no_repa=flows(2.0, 3.0, 7.0)))
    assert "### REPA or not" in text
    half = 4.303 * 3**0.5 / 3**0.5
    told = f"+2.000 ({2 - half:+.3f} to {2 + half:+.3f})"
    assert f"| L_RF | 2.000 ± {4.303 / 3**0.5:.3f} | 4.000 ± 6.573 | {told} |" in text
    assert "`no-repa`: no effect shows." in text
    assert "L_AR" not in text


def test_seeds_that_agree_by_coincidence_leave_shares_the_chance_of_their_scenes():
    """3 and 1 of 100, three times each: 11/304 and 5/304 by Agresti and Coull."""
    runs = {
        "reference": [{"drawn": 0.03, "flow": 0.03}] * 3,
        "shared": [{"drawn": 0.01, "flow": 0.01}] * 3,
    }
    found = difference(results_of(**runs), "shared", 10, "drawn", items=100)
    spread = sum(right / 304 * (1 - right / 304) / 304 for right in (11, 5)) ** 0.5
    assert found.mean == pytest.approx(-0.02)
    assert found.half_width == pytest.approx(1.96 * spread)
    assert not found.excludes_zero
    losses = difference(results_of(**runs), "shared", 10, "flow", items=100)
    assert losses.half_width == pytest.approx(0, abs=1e-12)


def test_an_effect_that_shows_is_marked_and_told_with_its_direction():
    """Less loss is better, more images right is better."""
    runs = [{"flow": 1.0 + i, "drawn": 0.5} for i in range(3)]
    better = [{"flow": 0.9 + i + i / 1000, "drawn": 0.2 - i / 1000} for i in range(3)]
    text = tables(results_of(reference=runs, bidirectional=better))
    assert "**-0.099 (-0.101 to -0.097)**" in text
    assert (
        "`bidirectional`: better than reference in L_RF; worse than reference in drawn right."
        in text
    )


def test_arms_that_learn_one_task_leave_the_others_cells_empty():
    both = [{"flow": 1.0 + i, "answers": 2.0} for i in range(2)]
    results = results_of(
        reference=both,
        understanding=[{"answers": 1.0} for _ in range(2)],
        generation=[{"flow": 2.0} for _ in range(2)],
    )
    lines = tables(results).splitlines()
    (flow,) = [line for line in lines if line.startswith("| L_RF |")]
    (answers,) = [line for line in lines if line.startswith("| L_AR")]
    assert flow.split(" | ")[2:4] == ["", ""]
    assert answers.split(" | ")[4:] == ["", " |"]
    measures = {(d["arm"], d["measure"]) for d in as_json(results, {}, items=100)["differences"]}
    assert measures == {("understanding", "answers"), ("generation", "flow")}


@pytest.mark.parametrize("missing", ["seed", "step"])
def test_what_was_not_measured_alike_is_refused(missing: str):
    results = results_of(reference=flows(1.0, 2.0, 3.0), no_repa=flows(1.0, 2.0, 3.0))
    if missing == "seed":
        del results["no-repa"][1]
    else:
        results["no-repa"][1] = {5: results["no-repa"][1][10]}
    with pytest.raises(DataError, match=r"not all measured alike .*no-repa.*run what is missing"):
        tables(results)


def test_one_seed_is_too_few_for_a_table():
    with pytest.raises(DataError, match=r"^1 seeds"):
        tables(results_of(reference=flows(1.0), no_repa=flows(2.0)))


def test_a_plot_has_a_row_for_each_comparison_that_was_run(tmp_path: Path):
    results = results_of(reference=flows(1.0, 2.0), no_repa=flows(2.0, 1.0), shared=flows(1.5, 1.5))
    heights = []
    for arms in (("no-repa",), ("no-repa", "shared")):
        plot({arm: results[arm] for arm in (REFERENCE, *arms)}, tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as image:
            heights.append(image.height)
    assert heights[1] == 2 * heights[0]


# ---- the command ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with tiny parts where the recipes look for mini's."""
    folder = tmp_path_factory.mktemp("work")
    root = folder / "runs" / "mini"
    root.mkdir(parents=True)
    trees = tiny_recipes(root)
    trees["1-scenes"]["num_scenes"] = 60
    for name, tree in trees.items():
        if name < "6":
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_recipes(folder)
    return folder


def run(*arguments: str) -> None:
    small = ["--limit-steps", "1", "--items", "2", "--drawing-steps", "1", "--at-once", "1"]
    main([*small, "--no-plot", *arguments])


@pytest.mark.slow
def test_the_command_trains_measures_and_tabulates_and_goes_on_where_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    page = folder / "page.md"
    page.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n", encoding="utf-8")
    arms = ("--arms", REFERENCE, "understanding", "--seeds", "2")
    run(*TINY, *arms, "--page", str(page))
    root = folder / "runs" / "try"
    found = json.loads((root / "results.json").read_text(encoding="utf-8"))
    assert len(found["values"]) == 2 * 2  # arms, seeds
    by_arm = {row["arm"]: row for row in found["values"]}
    assert {"flow", "words", "drawn", "answers", "answered"} <= set(by_arm[REFERENCE])
    assert "flow" not in by_arm["understanding"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "Limited to 1 steps" in text
    assert "old" not in text
    assert (root / "results.md").read_text(encoding="utf-8") in text

    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("made twice")

    monkeypatch.setattr("measuring.measure", none)
    monkeypatch.setattr("janusflow.training.stage.stage.train", none)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.json")}
    run(*TINY, *arms)
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*.json")}
    assert {path for path in after if after[path] != before[path]} == {root / "results.json"}
    again = json.loads((root / "results.json").read_text(encoding="utf-8"))
    assert again == found

    capsys.readouterr()
    for changed, told in (
        ((*TINY, "objective.time_mean=0", *arms), "begun with other settings"),
        ((*TINY, *arms, "--items", "3"), "was measured with"),
        (("--arms", "nothing"), "--arms nothing: wanted some of bidirectional"),
    ):
        with pytest.raises(SystemExit, match="1"):
            run(*changed)
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert told in error


@pytest.mark.slow
def test_runs_side_by_side_give_what_runs_in_turn_give_and_tell_it_in_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    arms = ("--arms", REFERENCE, "generation", "--seeds", "2")
    values = {}
    for at_once in ("1", "2"):
        run(*TINY, *arms, "--at-once", at_once, "--output", f"runs/{at_once}")
        found = json.loads(Path("runs", at_once, "results.json").read_text(encoding="utf-8"))
        values[at_once] = {
            (row["arm"], row["seed"], name): value
            for row in found["values"]
            for name, value in row.items()
            if isinstance(value, float)
        }
    assert values["2"] == pytest.approx(values["1"], rel=1e-3)
    told = capsys.readouterr().err
    assert "4 runs, 2 at once" in told
    assert "(4 of 4)" in told
    assert "step 1: " in Path("runs", "2", REFERENCE, "seed-1.log").read_text(encoding="utf-8")

    changed = (*TINY, "objective.time_mean=0", *arms, "--at-once", "2", "--output", "runs/2")
    with pytest.raises(SystemExit, match="1"):
        run(*changed)
    assert "begun with other settings" in capsys.readouterr().err.splitlines()[-1]
