"""examples/skills: its judges know what they judge, and its scripts run one after the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import janusflow
from janusflow.data.picture_folder import read_folder
from janusflow.inference.drawing.latents import decode_latents, encode_image
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene

SKILLS = Path(__file__).parents[2] / "examples" / "skills"


@pytest.fixture(autouse=True)
def as_a_script_sees_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SKILLS))


@pytest.mark.parametrize("skill", ["house", "outlined"])
def test_a_true_picture_is_right_also_as_the_vae_rebuilds_it(skill: str):
    from skills import SIZE, is_right, items

    vae = janusflow.load("mini").vae
    for item in items(skill, 30, seed=0, is_test=True):
        assert is_right(skill, item, item.image), item.words
        latent = encode_image(vae, item.image, size=SIZE)
        assert is_right(skill, item, decode_latents(vae, latent)[0]), item.words


def test_pictures_of_something_else_are_wrong():
    import numpy as np
    from skills import is_right, items

    rng = np.random.default_rng(0)
    scenes = [render(sample_scene(rng)) for _ in range(20)]
    for skill in ("house", "outlined"):
        wanted = list(items(skill, 12, seed=0, is_test=True))
        for place, item in enumerate(wanted):
            assert not any(is_right(skill, item, scene) for scene in scenes), item.words
            assert not is_right(skill, item, wanted[place - 1].image)
            assert not is_right(skill, item, Image.new("RGB", (64, 64), "white"))
    (asked,) = items("palette", 1, seed=0, is_test=True)
    assert is_right("palette", asked, f"{asked.words.title()}.")
    assert not is_right("palette", asked, f"{asked.words} and more")


def test_what_is_asked_in_tests_is_in_no_picture_that_is_learnt():
    from skills import items

    learnt = {item.words for item in items("outlined", 100, seed=0, is_test=False)}
    asked = {item.words for item in items("outlined", 100, seed=1, is_test=True)}
    assert len(learnt) > 50
    assert len(asked) > 15
    assert not learnt & asked


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_data_is_made_and_both_arms_of_the_continual_example_run(tmp_path: Path):
    def run(script: str, *arguments: str) -> str:
        command = [sys.executable, SKILLS / f"{script}.py", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(SKILLS.parents[1]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("make_data")
    pictures, asked = read_folder(tmp_path / "data" / "skills" / "both")
    assert (len(pictures), len(asked)) == (20, 400)
    assert all(each.caption for each in pictures)
    printed = run("continual", "--steps", "1", "--number", "1", "--images", "4")
    for arm in ("alone", "with-replay"):
        rows = json.loads((tmp_path / "runs" / "continual" / f"{arm}.json").read_text())
        assert [*rows] == ["mini", "house", "outlined", "palette"]
        assert all(0 <= share <= 1 for row in rows.values() for share in row.values())
    assert printed.count("| after | house | outlined | palette |") == 2
