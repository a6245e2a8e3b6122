"""Every script of examples/ runs as it stands, and makes what it says."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from janusflow.mini.scenes.detector import look_at

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(name: str, folder: Path, *arguments: str) -> str:
    """What a script prints, run as a person would in a folder."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(image: Path) -> set[str]:
    """Colours and shapes that mini's detector finds."""
    found = look_at(Image.open(image).convert("RGB"))
    return {f"{each.thing.colour} {each.thing.shape}" for each in found}


def test_every_script_has_a_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(SCRIPTS) <= tested


def test_see(tmp_path: Path):
    lines = run("see", tmp_path).splitlines()
    assert "red circle" in lines[0]
    assert "blue square" in lines[0]
    assert lines[1:3] == ["What colour is the square? blue", "How many objects are there? 2"]
    assert "circle" in lines[-1]


def test_draw(tmp_path: Path):
    again = run("draw", tmp_path).splitlines()[-1]
    assert again in [f"drawn again: levels differ by {levels} at most" for levels in (0, 1)]
    assert objects(tmp_path / "draw-0.png") == {"red circle"}
    assert objects(tmp_path / "draw-3.png") == {"blue star"}
    with Image.open(tmp_path / "draw-steps.png") as steps:
        assert steps.size == (8 * 64, 64)


def test_edit(tmp_path: Path):
    run("edit", tmp_path)
    assert objects(tmp_path / "edit-0-before.png") == {"red circle", "blue square"}
    assert objects(tmp_path / "edit-1-variation.png") == {"red circle", "blue square"}
    assert objects(tmp_path / "edit-2-mask.png") == {"red circle", "green star"}
    assert objects(tmp_path / "edit-3-inversion.png") == {"green circle", "blue square"}


def test_serve_and_call(tmp_path: Path):
    printed = run("serve_and_call", tmp_path)
    partials = sorted(path.name for path in tmp_path.glob("serve-partial-*.png"))
    assert partials == [f"serve-partial-{index}.png" for index in range(3)]
    assert objects(tmp_path / "serve.png") == {"red circle", "blue square"}
    assert objects(tmp_path / "serve-edited.png") == {"red circle", "green star"}
    assert "star" in printed.splitlines()[-1]


def test_evaluate(tmp_path: Path):
    run("evaluate", tmp_path)
    found = {}
    for plan in ("always", "never"):
        report = json.loads((tmp_path / f"evaluate-plan-{plan}.json").read_text(encoding="utf-8"))
        found[plan] = {score["name"]: score for score in report["scores"]}["two en"]
        assert (tmp_path / f"evaluate-plan-{plan}.html").is_file()
    assert [each["items"] for each in found.values()] == [4, 4]
    assert found["always"]["value"] >= found["never"]["value"]


def test_train_from_scratch(tmp_path: Path):
    for name in ("examples", "janusflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    run("train_from_scratch", tmp_path, "loop.steps=2", "loop.log_every=1")
    folder = tmp_path / "runs" / "from-scratch" / "model"
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["flow_mse"] for line in lines]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert len([*folder.glob("a-*.png")]) == 4
    assert (folder / "model" / "config.json").is_file()


def test_finetune_with_trainer(tmp_path: Path):
    printed = run("finetune_with_trainer", tmp_path)
    assert "after: ['yes', 'no']" in printed
    assert "before: ['yes', 'no']" not in printed
    assert (tmp_path / "finetune" / "model" / "config.json").is_file()


def test_with_transformers(tmp_path: Path):
    printed = run("with_transformers", tmp_path)
    assert printed.count("three orange diamonds") == 2


def test_with_diffusers(tmp_path: Path):
    assert "step 18, latents of" in run("with_diffusers", tmp_path)
    for name in ("euler", "heun"):
        assert objects(tmp_path / f"diffusers-{name}.png") == {"red circle", "blue star"}


def test_export_onnx(tmp_path: Path):
    run("export_onnx", tmp_path)
    assert (tmp_path / "mini-onnx" / "manifest.json").is_file()
    assert objects(tmp_path / "export-onnx.png") == {"red circle"}
