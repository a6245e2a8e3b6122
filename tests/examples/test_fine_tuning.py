"""The fine-tuning page runs as it stands, in fewer steps: its data, commands and recipes."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from janusflow.cli.main import COMMANDS, build_app
from janusflow.config.recipes import StageRecipe
from janusflow.processing.image_files import open_image
from janusflow.training.recipes import read_recipe
from janusflow.training.shipped import recipes_folder

PAGE = (Path(__file__).parents[2] / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, flags=re.DOTALL)
FEW = [
    "loop.log_every=1",
    "log.samples_every=1",
    "log.prompts=[a red house]",
    "mixture.batch_size=2",
]
LONGER = "loop.steps=300"
NEEDED = ("data", "recipes", "train", "generate", "ask")


def commands() -> list[list[str]]:
    """Every command of the page, without its environment."""
    lines = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
    words = [shlex.split(line) for line in lines if "janusflow" in line]
    return [each[each.index("janusflow") + 1 :] for each in words if "janusflow" in each]


def shortened(words: list[str]) -> list[str]:
    """A training of the page with one step, and one more where the page goes on."""
    if words[0] != "train" or "--dry-run" in words:
        return words
    others = [word for word in words if word != LONGER]
    return [*others, f"loop.steps={2 if LONGER in words else 1}", *FEW]


def test_the_page_shows_the_recipes_own_lines():
    recipe = (recipes_folder() / "finetune" / "full.yaml").read_text(encoding="utf-8")
    (shown,) = [block for kind, block in BLOCKS if kind == "yaml"]
    assert shown in recipe
    assert {"start", "data"} == set(yaml.safe_load(shown))


def test_both_recipes_start_from_mini_and_read_with_its_processor_and_vae():
    full, lora = (read_recipe(Path(f"finetune/{name}")) for name in ("full", "lora"))
    for recipe in (full, lora):
        assert isinstance(recipe, StageRecipe)
        assert (recipe.start, recipe.processor, recipe.vae) == ("mini", "mini", "mini")
    assert full.tune is None
    assert lora.tune is not None
    assert (lora.data, lora.trainable) == (full.data, ())
    rate = full.loop.rates().removeprefix("learning rate ")
    assert rate in " ".join(PAGE.split())


def test_the_release_is_one_line_away():
    (words,) = [words for words in commands() if any("1.3B" in word for word in words)]
    changes = [word for word in words[2:4] if "=" in word]
    recipe = read_recipe(Path(words[1]), tuple(changes))
    assert recipe.vae == recipe.processor == recipe.start == "deepseek-ai/JanusFlow-1.3B"
    assert recipe.loop.optimizer.learning_rate == 2e-5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pages_python_and_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("peft", reason="no peft: pip install 'janusflow[tune]'; the page untested")
    monkeypatch.chdir(tmp_path)
    (python,) = [block for kind, block in BLOCKS if kind == "python"]
    exec(compile(python, "fine-tuning.md", "exec"), {})
    ran = [words for words in commands() if "--dry-run" not in words or "1.3B" not in str(words)]
    app = build_app({name: COMMANDS[name] for name in COMMANDS if name.split()[0] in NEEDED})
    for words in ran:
        result = CliRunner().invoke(app, shortened(words))
        assert result.exit_code == 0, (words, result.output)
    assert {"check", "copy", "train", "generate", "ask"} <= {
        word for words in ran for word in words
    }
    assert [open_image(f"{name}.png").size for name in ("house", "house-lora")] == [(64, 64)] * 2
    assert (tmp_path / "runs/finetune/model/config.json").is_file()
    assert (tmp_path / "runs/finetune-lora/adapter/adapter_config.json").is_file()
    assert len((tmp_path / "runs/finetune/log.jsonl").read_text().splitlines()) == 2
