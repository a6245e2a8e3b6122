"""`janusflow tune`: from a folder to an adapter and a page; a wrong folder is one line."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import janusflow
from janusflow.cli.main import build_app
from janusflow.cli.tune_page.trial import NUM_KEPT, NUM_OWN
from janusflow.cli.tune_page.tuning import Request, prior_of
from janusflow.inference.tuning_data import QUESTIONS


def tune(*arguments: object) -> Result:
    # Two commands: typer drops the name of a lone one.
    app = build_app({"tune": "janusflow.cli.tune", "eval": "janusflow.cli.eval"})
    return CliRunner().invoke(app, ["tune", *map(str, arguments)])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "mugs"
    folder.mkdir()
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (48, 32), colour).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_a_folder_becomes_an_adapter_a_recipe_samples_and_a_page(
    pictures: Path, tiny_folder: Path, tmp_path: Path
):
    run = tmp_path / "run"
    said = (
        *(pictures, "--prompt", "a sks mug", "--class-prompt", "a mug", "--num-class-images", 2),
        *("-m", tiny_folder, "--steps", 4, "--samples-every", 2, "--batch-size", 3),
        *("-o", run, "--quiet", "--json"),
    )
    result = tune(*said)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["steps"], told["captions_by"], told["prior_images"]) == (4, "one prompt", 2)
    assert {*told["captions"].values()} == {"a sks mug"}
    for name in ("tune.yaml", "index.html", "adapter/adapter_config.json", "samples"):
        assert (run / name).exists()
    html = (run / "index.html").read_text(encoding="utf-8")
    # 3 pictures and 3 to be named, pairs of drawings, and drawings that are described.
    assert html.count("<img") == 3 + 3 + 2 * (NUM_OWN + NUM_KEPT) + NUM_KEPT
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="(.*?)"', html))
    assert "polyline" in html
    assert all(command.split(" -o ")[0].split('"')[0] in html for command in told["commands"])
    jf = janusflow.load(tiny_folder, adapter=run)
    assert list(jf.adapters) != []
    # The same command has nothing left to train, and leaves the same adapter.
    weights = run / "adapter" / "adapter_model.safetensors"
    before = weights.read_bytes()
    again = tune(*said)
    assert again.exit_code == 0, again.output
    assert weights.read_bytes() == before


@pytest.mark.slow
def test_a_folder_of_questions_is_learnt_without_drawing(
    pictures: Path, tiny_folder: Path, tmp_path: Path
):
    said = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "red"}]
    rows = [{"image": f"{number}.png", "conversations": said} for number in range(3)]
    (pictures / "questions.json").write_text(json.dumps(rows))
    run = tmp_path / "run"
    result = tune(
        *(pictures, "-m", tiny_folder, "--steps", 2, "--batch-size", 2, "-o", run),
        *("--quiet", "--json"),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["captions"], told["prior_images"]) == ({}, 0)
    assert len(told["answers"]["after"]) == 3
    html = (run / "index.html").read_text(encoding="utf-8")
    assert "What it draws now" not in html
    assert html.count("What is it?") == 3 + 1  # asked, and a command


def known_prompts(number: int, *, seed: int) -> list[tuple[str, list[str]]]:
    """Of a model that knows some words, and what may be asked about them."""
    assert seed == 0
    return [(f"known {index}", ["how many?"]) for index in range(number)]


@pytest.mark.parametrize(
    ("knows", "prompts", "questions", "wanted"),
    [
        (False, (), ("x?",), []),
        (False, ("a", "b"), (), [("a", QUESTIONS), ("b", QUESTIONS), ("a", QUESTIONS)]),
        (True, (), (), [(f"known {index}", ("how many?",)) for index in range(3)]),
        (
            *(True, ("a", "b"), ("x?", "y?")),
            [
                ("a", (*QUESTIONS, "x?")),
                ("known 0", ("how many?", "y?")),
                ("b", (*QUESTIONS, "x?")),
            ],
        ),
    ],
)
def test_what_is_kept_comes_from_what_is_named_and_what_is_known_by_turns(
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    knows: bool,
    prompts: tuple[str, ...],
    questions: tuple[str, ...],
    wanted: list[Any],
):
    knowledge = SimpleNamespace(prompts=known_prompts) if knows else None
    jf = janusflow.load(tiny_folder)
    monkeypatch.setattr(jf, "knowledge", knowledge)
    request = Request(
        folder=Path("mugs"),
        prompt=None,
        class_prompts=prompts,
        class_questions=questions,
        num_class_images=3,
        model="mini",
        run=Path("run"),
        settings={},
    )
    found = [(each.prompt, tuple(each.questions)) for each in prior_of(jf, request)]
    assert found == wanted


def test_a_wrong_folder_is_one_line_before_any_model_is_loaded(tmp_path: Path):
    result = tune(tmp_path / "none", "-m", "no/such-model")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "there is no such folder" in line
    assert "wanted a folder of pictures" in line
