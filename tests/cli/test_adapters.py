"""`--adapter`: on every command that draws or answers, merged by convert, told by inspect."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import typer
from adapter_folders import outputs, same, write_adapter
from click.testing import Result
from release_folder import write_release_folder
from tiny_model import tiny_janusflow, tiny_vae
from typer.main import get_command
from typer.testing import CliRunner

import janusflow
from janusflow.cli.main import COMMANDS, build_app
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.load import load_model

Run = Callable[..., Result]
CONVERT = build_app({"convert": "janusflow.cli.convert", "again": "janusflow.cli.convert"})
USE_NO_ADAPTER = {"upscale", "estimate", "train", "tune", "inspect", "data check", "data show"} | {
    "data cache"
}
"""Commands with a model that neither draw nor answer with it, or make an adapter of it; `refine`
takes the VAE alone."""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "style"
    return write_adapter(folder, tiny_janusflow().model, base=str(tiny_folder))


def test_every_command_that_draws_or_answers_takes_adapters():
    missing = []
    for name, module in COMMANDS.items():
        app = typer.Typer()
        app.command()(import_module(module).command)
        options = {name for each in get_command(app).params for name in each.opts}
        if {"--model", "model"} & options and "--adapter" not in options:
            missing.append(name)
    assert set(missing) <= USE_NO_ADAPTER
    assert {"upscale"} <= set(missing)


def test_generate_draws_with_adapters_and_the_image_tells_them(
    run: Run, tiny_folder: Path, adapter: Path
):
    drawn = run(
        *("generate", "별", "--model", tiny_folder, "--adapter", f"{adapter}:0.5"),
        *("--steps", 1, "--seed", 1, "-o", "out.png"),
    )
    assert drawn.exit_code == 0, drawn.output
    facts = json.loads(run("inspect", "out.png", "--json").stdout)
    told = json.loads(run("inspect", adapter, "--json").stdout)
    assert facts["adapters"] == f"style:0.5 ({told['sha256'][:12]})"
    jf = janusflow.load(tiny_folder, device="cpu", adapter=f"{adapter}:0.5")
    (wanted,) = jf.generate("별", steps=1, seed=1)
    from PIL import Image

    with Image.open("out.png") as image:
        assert image.tobytes() == wanted.tobytes()


def test_prompts_of_a_file_are_drawn_again_with_another_adapter(
    run: Run, tiny_folder: Path, adapter: Path
):
    Path("prompts.txt").write_text("a star\n", encoding="utf-8")
    told = []
    for option in ((), ("--adapter", adapter), ("--adapter", adapter)):
        done = run(
            *("generate", "--prompts", "prompts.txt", "-m", tiny_folder, "--steps", 1),
            *("-o", "images", "--json", *option),
        )
        assert done.exit_code == 0, done.output
        told.append(json.loads(done.stdout)["drawn"])
    assert told == [1, 1, 0]


def test_an_answer_is_the_adapters(run: Run, tiny_folder: Path, adapter: Path):
    jf = janusflow.load(tiny_folder, device="cpu", adapter=adapter)
    wanted = jf.ask(None, "What?", max_new_tokens=6)
    by_option = run("ask", "What?", "-m", tiny_folder, "--adapter", adapter, "--max-new-tokens", 6)
    by_model = run("ask", "What?", "-m", adapter, "--max-new-tokens", 6)
    assert by_option.stdout.strip() == by_model.stdout.strip() == wanted.strip()


def test_inspect_tells_what_an_adapter_is(run: Run, tiny_folder: Path, adapter: Path):
    facts = json.loads(run("inspect", adapter, "--json").stdout)
    assert facts["adapter"] == "lora"
    assert facts["base"] == str(tiny_folder)
    assert facts["rank"] == 4
    assert facts["num_parameters"] * 4 < facts["bytes"]
    assert "sha256" in run("inspect", adapter).stdout


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("{adapter}:much", "no weight"),
        ("nowhere", "no such folder"),
        ("{tiny}", "a model's folder"),
    ],
)
def test_a_wrong_adapter_is_one_line(
    run: Run, tiny_folder: Path, adapter: Path, typed: str, told: str
):
    typed = typed.format(adapter=adapter, tiny=tiny_folder)
    result = run("ask", "What?", "-m", tiny_folder, "--adapter", typed)
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert told in result.output


# ---- convert ----------------------------------------------------------------------------------


def convert(*arguments: str | Path) -> Result:
    return CliRunner().invoke(CONVERT, ["convert", *map(str, arguments)])


def test_merged_weights_are_written_in_both_layouts_and_draw_the_same(tmp_path: Path):
    """The release stores 16 bits, so merging rounds: less than 5% of what the adapter changes."""
    release = tmp_path / "release"
    write_release_folder(release)
    tiny_vae().save_pretrained(release / "vae")
    adapter = write_adapter(tmp_path / "style", load_model(release), base=str(release))

    def load(folder: Path, **more: Path) -> JanusFlow:
        return janusflow.load(folder, vae=release / "vae", device="cpu", dtype="float32", **more)

    for name, more in {"ours": (), "official": ("--to", "official")}.items():
        done = convert(release, tmp_path / name, "--adapter", adapter, *more)
        assert done.exit_code == 0, done.output
    base, separate = outputs(load(release)), outputs(load(release, adapter=adapter))
    ours, official = load(tmp_path / "ours"), load(tmp_path / "official")
    assert same(outputs(ours), outputs(official))
    assert (tmp_path / "official" / "config.json").read_text() == (
        release / "config.json"
    ).read_text()
    for name, value in outputs(ours).items():
        change = (separate[name] - base[name]).norm()
        assert (value - separate[name]).norm() < 0.05 * change
    images = [each.generate("a star", steps=2, seed=1)[0].tobytes() for each in (ours, official)]
    assert images[0] == images[1]


def test_a_run_that_left_an_adapter_is_converted_with_it(
    tiny_folder: Path, adapter: Path, tmp_path: Path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "adapter").symlink_to(adapter)
    done = convert(tmp_path / "run", tmp_path / "merged")
    assert done.exit_code == 0, done.output
    jf = janusflow.load(tiny_folder, device="cpu", adapter=adapter)
    jf.merge_adapters()
    assert same(outputs(janusflow.load(tmp_path / "merged", device="cpu")), outputs(jf))
