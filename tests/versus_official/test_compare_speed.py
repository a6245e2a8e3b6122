"""Rounds of two sides: who runs when, medians and ratios, and outputs that are to be equal."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import compare_speed
import numpy as np
import pytest
import synthetic_weights
import torch
from cases import plan_runs
from compare_speed import compare, is_equal, largest_difference, read_options, run_side, table
from synthetic_weights import SIZES, Size, SyntheticWeights, ensure_folder, settings_of

from janusflow.inference.loading import load
from janusflow.inference.speed import SpeedSettings
from janusflow.interop.release import release_config
from janusflow.interop.release_layout import release_settings

TINY = Size(
    llm_layers=1,
    tower_layers=1,
    vocabulary=4096,
    llm_width=64,
    llm_inner_width=128,
    llm_heads=4,
    path_width=32,
    image_size=64,
    vae_widths=(32, 32, 32, 32),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights for tests under the name of the scaled ones."""
    folder = tmp_path_factory.mktemp("bench")
    ensure_folder(folder / "scaled", TINY)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "janus" / "janusflow").mkdir(parents=True)
    return tmp_path


def test_a_case_is_run_for_every_number_it_is_repeated_over():
    runs = plan_runs(
        ["ask", "load", "velocity"], SpeedSettings(steps=3), batches=[1, 4], images=[2]
    )
    labels = [run.label for run in runs]
    assert labels == ["velocity, batch 1", "velocity, batch 4", "ask, images 2"]
    assert {run.steps for run in runs} == {3}


@pytest.mark.slow
def test_ours_is_measured_in_a_process_of_its_own(folder: Path, tmp_path: Path):
    run = {"case": "velocity", "prompt": compare_speed.PROMPT}
    task = {"runs": [run], "folder": str(folder / "scaled"), "official": None, "quantize": None}
    task |= {"device": "cpu", "dtype": "float32", "repeats": 1}
    times, outputs = run_side(task, python=sys.executable, folder=tmp_path)
    assert times["load"]["seconds"] > 0 < times["velocity, batch 1"]["peak_gb"]
    assert outputs["velocity, batch 1"].shape == (1, 4, 8, 8)


def test_a_side_that_fails_says_what_it_said_last(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"official ended with code 1 \(.*No module named 'janus'"):
        run_side({"runs": [], "official": "/nowhere"}, python=sys.executable, folder=tmp_path)


def test_sides_take_turns_and_the_other_begins_in_the_next_round(
    folder: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    tasks: list[Mapping[str, Any]] = []

    def run(task: Mapping[str, Any], *, python: str, folder: Path) -> tuple[dict, dict]:
        tasks.append(task)
        is_ours, number = task["official"] is None, len(tasks)
        output = np.array([0.5 if is_ours else 0.5 + 1e-3 * (number == 4)])
        return {"velocity, batch 1": {"seconds": number}}, {"velocity, batch 1": output}

    monkeypatch.setattr(compare_speed, "run_side", run)
    official = ["--official", str(checkout), "--rounds", "2", "--quantize", "int8"]
    found = compare(read_options([*official, "--folder", str(folder), "--cases", "velocity"]))
    assert [task["official"] is None for task in tasks] == [False, True, True, False]
    assert [task.get("quantize") for task in tasks] == [None, "int8", "int8", None]
    assert found["times"]["official"] == {"velocity, batch 1": {"seconds": 2.5}}
    assert found["differences"]["velocity, batch 1"] == pytest.approx(1e-3)
    assert not is_equal(found["differences"])
    assert is_equal({"velocity, batch 1": 1e-5, "image, batch 2": 1.0, "ask, images 1": 0.0})


def test_the_table_tells_how_many_times_longer_the_authors_take():
    times = {side: {"load": {"seconds": x}} for side, x in (("ours", 2.0), ("official", 6.0))}
    _, line = table({"times": times, "differences": {}})
    assert line.split() == ["load:", "seconds", "6.000", "2.000", "3.00"]
    _, line = table({"times": {"ours": times["ours"]}, "differences": {}})
    assert line.split() == ["load:", "seconds", "2.000"]


def test_levels_are_subtracted_without_wrapping_around():
    assert largest_difference(np.array([0], np.uint8), np.array([255], np.uint8)) == 255


@pytest.mark.parametrize("wrong", [np.zeros(3), np.array([np.nan, 0.0])])
def test_other_shapes_and_no_numbers_are_never_equal(wrong: np.ndarray):
    assert largest_difference(wrong, np.zeros(2)) == np.inf


def test_what_is_no_checkout_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        read_options(["--official", "/nowhere"])
    assert "/nowhere: no janus/janusflow in it" in capsys.readouterr().err


# ---- synthetic weights --------------------------------------------------------------------------


def test_a_weight_depends_on_its_name_and_shape_alone():
    one = SyntheticWeights({"a.weight": (3, 2), "b.weight": (3, 2)})
    other = SyntheticWeights({"b.weight": (3, 2)})
    assert torch.equal(one.read("b.weight"), other.read("b.weight"))
    assert not torch.equal(one.read("a.weight"), one.read("b.weight"))


def test_the_full_size_is_the_release_and_the_scaled_one_has_its_widths():
    assert settings_of(SIZES["full"]) == release_settings(release_config())
    scaled, full = (settings_of(SIZES[name])["language_config"] for name in ("scaled", "full"))
    differing = {key for key in full if full[key] != scaled[key]}
    assert differing == {"num_hidden_layers", "vocab_size"}


def test_the_folder_loads_and_the_prompt_has_about_64_tokens(folder: Path):
    jf = load(str(folder / "scaled"), device="cpu")
    assert jf.image_size == TINY.image_size
    prompt = jf.processor.prompts([compare_speed.PROMPT])
    assert 60 <= prompt.input_ids.shape[1] <= 68
    assert json.loads((folder / "scaled" / "config.json").read_text())["language_config"]


def test_what_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(unfinished: Path, size: object) -> None:
        (unfinished / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic_weights, "write_folder", stop)
    with pytest.raises(KeyboardInterrupt):
        ensure_folder(tmp_path / "new", TINY)
    assert list(tmp_path.iterdir()) == []
