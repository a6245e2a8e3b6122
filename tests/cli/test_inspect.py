"""`janusflow inspect`: models without reading their weights, images by their record."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from tiny_model import tiny_model

Run = Callable[..., Result]


def test_a_models_parts_are_counted_without_its_weights(
    run: Run, tiny_folder: Path, tmp_path: Path
):
    for name in ("config.json",):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    facts = json.loads(run("inspect", tmp_path, "--json").stdout)
    model = tiny_model()
    assert facts["num_parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["parameters"]["llm"] == sum(p.numel() for p in model.llm.parameters())
    assert facts["generation"]["num_tokens"] == 16
    assert facts["token_ids"]["image_start"] == 5
    assert facts["dtype"] == "float32"


def test_a_model_is_described_in_text(run: Run, tiny_folder: Path):
    result = run("inspect", tiny_folder)
    assert result.exit_code == 0, result.output
    assert "generation encoder aligner" in result.stdout
    assert "num parameters" in result.stdout


def test_a_drawn_image_tells_how_it_was_drawn(run: Run, tiny_folder: Path):
    run("generate", "별", "-m", tiny_folder, "--steps", 1, "--seed", 9, "-o", "out.png")
    facts = json.loads(run("inspect", "out.png", "--json").stdout)
    assert (facts["prompt"], facts["seed"], facts["steps"]) == ("별", 9, 1)
    assert facts["model"] == str(tiny_folder)
    assert "별" in run("inspect", "out.png").stdout


@pytest.mark.parametrize(
    ("target", "reason"),
    [("plain.png", "no drawing record"), ("broken.png", "not an image"), ("nowhere", "nowhere")],
)
def test_what_holds_nothing_is_refused_in_one_line(run: Run, target: str, reason: str):
    Image.new("RGB", (4, 4)).save("plain.png")
    Path("broken.png").write_bytes(b"nonsense")
    result = run("inspect", target)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
