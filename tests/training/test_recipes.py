"""Recipes: those that ship fit together, and a tiny set of them runs from nothing to images."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file
from tiny_recipes import tiny_recipes, write_recipes
from toy_run import last_average

import janusflow
from janusflow.config.data import DataConfig, SourceConfig
from janusflow.config.errors import CheckpointError, ConfigError, DataError
from janusflow.config.model import GenerationPathConfig
from janusflow.config.recipes import StageRecipe
from janusflow.config.records import build_record, to_tree
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.mini.training.recipes import SiglipRecipe, VaeRecipe
from janusflow.mini.training.sources import pixel_values
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.recipes import read_recipe, run_recipes
from janusflow.training.stage.stage import train_stage

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))


def shipped() -> dict[str, Any]:
    return {path.stem: read_recipe(path) for path in sorted((RECIPES / "mini").glob("*.yaml"))}


# ---- the recipes that ship ----------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_survives_its_own_echo(path: Path):
    recipe = read_recipe(path)
    echo = yaml.safe_dump(to_tree(recipe))
    assert build_record(type(recipe), yaml.safe_load(echo), where="echo") == recipe


def sources_of(recipe: Any) -> list[SourceConfig]:
    data = getattr(recipe, "data", DataConfig())
    return [*data.understanding, *data.generation, *data.text]


def test_every_step_of_mini_needs_only_what_earlier_steps_left():
    made: set[Path] = set()
    for recipe in shipped().values():
        for name in ("scenes", "tokenizer", "processor", "vae", "start"):
            needed = getattr(recipe, name, None)
            assert needed is None or Path(needed) in made, (name, needed)
        for source in sources_of(recipe):
            for path in (source.path, source.options.get("latents", source.path)):
                assert made & {Path(path), Path(path).parent}, path
        if isinstance(recipe, StageRecipe) and recipe.start is None:
            assert Path(str((recipe.new or {})["tower"])).parent in made
        assert recipe.run not in made
        made.add(recipe.run)
    *_, last_stage, ship = shipped().values()
    assert ship.start == last_stage.run


def test_the_sizes_of_minis_parts_fit_together():
    steps = shipped()
    scenes, tokenizer = steps["1-scenes"], steps["2-tokenizer"]
    vae, siglip, language = steps["3-vae"], steps["4-siglip"], steps["5-language"]
    assert isinstance(vae, VaeRecipe)
    assert isinstance(siglip, SiglipRecipe)
    new = language.new
    flow = GenerationPathConfig(**new["generation"])
    num_patches = (siglip.vision["image_size"] // siglip.vision["patch_size"]) ** 2
    factor = 2 ** (len(vae.model["block_out_channels"]) - 1)
    assert scenes.size == tokenizer.image_size == siglip.vision["image_size"]
    assert tokenizer.num_image_tokens == num_patches == flow.num_tokens
    assert flow.latent_size * factor == scenes.size
    assert flow.latent_channels == vae.model["latent_channels"]
    assert new["llm_config"]["vocab_size"] == tokenizer.vocab_size
    for index, name in enumerate(("bos", "eos", "pad")):
        assert new["llm_config"][f"{name}_token_id"] == index


def test_what_trains_in_minis_stages_is_what_trains_in_the_papers():
    """Section 3.2: the tower learns in stage 3 only, the LLM from stage 2 on."""
    around = {"aligners", "generation_encoder", "generation_decoder", "repa_head"}
    trained = {
        name: set(recipe.trainable)
        for name, recipe in shipped().items()
        if isinstance(recipe, StageRecipe)
    }
    assert trained["6-stage1"] == around
    assert trained["7-stage2"] == trained["7-stage2b"] == around | {"llm"}
    assert trained["8-stage3"] == around | {"llm", "understanding_encoder"}


# ---- a tiny set of recipes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tiny recipes have been run, in order."""
    root = tmp_path_factory.mktemp("tiny")
    runs = run_recipes(write_recipes(root / "recipes", tiny_recipes(root)))
    assert [run.name for run in runs] == [
        *["scenes", "tokenizer", "vae", "siglip", "language", "stage1", "ship"]
    ]
    return root


def load(folder: Path) -> dict[str, torch.Tensor]:
    return JanusFlowForConditionalGeneration.from_pretrained(folder).state_dict()


def test_the_latents_are_those_of_the_vae_that_was_saved(root: Path):
    vae = AutoencoderKL.from_pretrained(root / "vae" / "vae", low_cpu_mem_usage=False)
    images = SceneFolder(root / "scenes").images
    with torch.no_grad():
        expected = vae.encode(pixel_values(images[:])).latent_dist.mean.numpy()
    latents = np.load(root / "vae" / "latents.npy")
    np.testing.assert_allclose(latents, expected, atol=5e-3)
    assert latents.std((0, 2, 3)) == pytest.approx(np.ones(4), abs=0.01)


def test_a_stage_leaves_the_average_of_what_it_trained_and_the_rest_as_it_was(root: Path):
    start, end = load(root / "language" / "model"), load(root / "stage1" / "model")
    average = last_average(root / "stage1")
    assert average
    for name, value in end.items():
        expected = average.get(f"model.{name}", start[name])
        assert torch.equal(value, expected), name
    assert not torch.equal(
        end["understanding_aligner.weight"], start["understanding_aligner.weight"]
    )


def test_a_new_model_has_the_tower_that_was_trained(root: Path):
    """Its final norm besides standardises the features of the scenes."""
    trained = last_average(root / "siglip")
    prefix = "siglip.vision_model."
    tower = {name.removeprefix(prefix): v for name, v in trained.items() if name.startswith(prefix)}
    model = JanusFlowForConditionalGeneration.from_pretrained(root / "language" / "model")
    built = model.understanding_encoder.state_dict()
    assert tower
    for name, value in tower.items():
        assert torch.equal(built[name], value) != name.startswith("post_layernorm"), name
    with torch.no_grad():
        images = pixel_values(SceneFolder(root / "scenes").images[:])
        features = model.understanding_features(images)
    assert features.mean((0, 1)).abs().max() < 1e-3
    assert (features.std((0, 1)) - 1).abs().max() < 1e-3


def test_what_a_run_leaves_draws_and_answers(root: Path):
    jf = janusflow.load(root / "stage1", device="cpu")
    (image,) = jf.generate("a red circle", steps=1, seed=0)
    assert image.size == (64, 64)
    assert isinstance(jf.ask(image, "무슨 색이에요?", max_new_tokens=2), str)


def test_what_ships_is_the_same_model_in_half_the_bytes(root: Path):
    """float16 keeps 11 bits; values too small for it lose the rest."""
    start, shipped_weights = load(root / "stage1" / "model"), root / "ship" / "model"
    raw = load_file(shipped_weights / "model.safetensors")
    assert {value.dtype for value in raw.values()} == {torch.float16}
    for name, value in raw.items():
        torch.testing.assert_close(value.float(), start[name], rtol=2**-11, atol=1e-7)
    assert janusflow.load(root / "ship", device="cpu").image_size == 64


def test_finished_runs_are_not_run_again(root: Path):
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    before = [path.stat().st_mtime_ns for path in files]
    run_recipes(root / "recipes")
    assert [path.stat().st_mtime_ns for path in files] == before


def test_an_interrupted_stage_leaves_the_model_of_an_uninterrupted_one(root: Path, tmp_path: Path):
    """From a new model on: what is not trained is made again from the seed."""

    class Interrupt:
        def after_step(self, state: TrainState, report: StepReport) -> None:
            if report.step == 3:
                raise KeyboardInterrupt

    def recipe(run: str) -> StageRecipe:
        tree = tiny_recipes(root)["5-language"] | {"run": str(tmp_path / run)}
        tree["loop"] = {**tree["loop"], "steps": 4}
        return build_record(StageRecipe, tree, where="test")

    train_stage(recipe("whole"))
    with pytest.raises(KeyboardInterrupt):
        train_stage(recipe("broken"), (Interrupt(),))
    train_stage(recipe("broken"))
    weights = [(tmp_path / run / "model/model.safetensors") for run in ("whole", "broken")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    left = {path.name for path in (tmp_path / "broken").iterdir()}
    assert left == {"checkpoints", "data.json", "log.jsonl", "model"}


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_run_begun_with_other_settings_is_neither_continued_nor_skipped(
    root: Path, tmp_path: Path, is_finished: bool
):
    tree = tiny_recipes(root)["1-scenes"] | {"run": str(tmp_path / "run")}
    path = write_recipes(tmp_path / "recipes", {"one": tree}) / "one.yaml"
    run_recipes(path)
    if not is_finished:
        (tmp_path / "run" / "done").unlink()
    with pytest.raises(ConfigError, match=r"begun with other settings .* seed=1 \(was 0\)"):
        run_recipes(path, ("seed=1",))
    run_recipes(path)


@pytest.mark.slow
def test_a_finished_run_goes_on_if_it_is_to_have_more_steps(root: Path, tmp_path: Path):
    """And then learns what it would have learnt in one go."""
    tree = tiny_recipes(root)["5-language"] | {"run": str(tmp_path / "run")}
    tree["loop"] = {**tree["loop"], "steps": 2}
    path = write_recipes(tmp_path / "recipes", {"one": tree}) / "one.yaml"
    run_recipes(path)
    run_recipes(path, ("loop.steps=4",))
    whole = write_recipes(tmp_path / "recipes", {"two": tree | {"run": str(tmp_path / "2")}})
    run_recipes(whole / "two.yaml", ("loop.steps=4",))
    weights = [tmp_path / run / "model/model.safetensors" for run in ("run", "2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert (tmp_path / "run/done").exists()


@pytest.mark.parametrize(
    ("step", "overrides", "told"),
    [
        ("3-vae", "scenes=nosuch", "no rendered scenes in nosuch"),
        ("4-siglip", "tokenizer=nosuch", "nosuch/tokenizer.json is missing"),
        ("5-language", "new.tower=nosuch", "nosuch holds no SiglipVisionModel"),
        ("5-language", "vae=nosuch", "nosuch: no such folder"),
        ("5-language", "processor=nosuch", "nosuch: no such folder: pass mini"),
        ("6-stage1", "start=nosuch", "nosuch: no such folder"),
        ("6-stage1", "start=null", "new=nothing and no start"),
        ("7-ship", "start=nosuch", "nosuch/model/config.json is missing"),
        ("6-stage1", "trainable=[lm]", "wanted some of aligners"),
        ("3-vae", "model.latent_chanels=4", "in .*: model: did you mean latent_channels"),
        ("4-siglip", "vision.hidden_sise=4", "in .*: vision: did you mean hidden_size"),
        ("4-siglip", "text.num_layer=4", "in .*: text: did you mean num_hidden_layers"),
        ("5-language", "new.genaration.width=4", "in .*: new: did you mean generation"),
        ("5-language", "new.generation.widht=4", "unknown GenerationPathConfig keys widht"),
        ("5-language", "new.llm_config.hiden_size=4", "in .*llm_config: did you mean hidden_size"),
        ("6-stage1", "data.text=[{fromat: scenes, path: x}]", "did you mean format"),
        ("6-stage1", "loop.guard.spike_time=3", "did you mean spike_times"),
        ("6-stage1", "log.sample_every=3", "did you mean samples_every"),
        ("6-stage1", "objective.time_men=3", "did you mean time_mean"),
        ("6-stage1", "mixture.ratios=[{txet: 1}]", "did you mean text"),
    ],
)
def test_a_step_whose_needs_are_missing_says_so_in_one_line(
    root: Path, tmp_path: Path, step: str, overrides: str, told: str
):
    path = root / "recipes" / f"{step}.yaml"
    with pytest.raises((ConfigError, DataError, CheckpointError), match=told) as caught:
        run_recipes(path, (overrides, f"run={tmp_path / 'run'}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("task: paint", "task is 'paint', wanted one of"),
        ("task: [scenes]", "wanted one of"),
        ("run: here", "task is None"),
        ("task: [", "not valid YAML"),
        ("task: scenes\nrun: here\nnum_scenes: 3\nsiz: 3", "did you mean size?"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, told: str):
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        run_recipes(path)
    assert told in str(caught.value)


def test_a_folder_is_refused_as_a_whole_if_one_recipe_is_wrong(tmp_path: Path):
    """A typo in the last step must not be found after hours."""
    scenes = {"task": "scenes", "run": str(tmp_path / "run"), "num_scenes": 1}
    folder = write_recipes(tmp_path / "recipes", {"1": scenes, "2": scenes | {"sed": 1}})
    with pytest.raises(ConfigError, match="did you mean seed"):
        run_recipes(folder)
    assert not (tmp_path / "run").exists()


def test_a_folder_needs_recipes(tmp_path: Path):
    with pytest.raises(ConfigError, match="no recipe at"):
        run_recipes(tmp_path)


def tower_losses(root: Path) -> list[float]:
    lines = (root / "siglip" / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["sigmoid"] for line in lines]


@pytest.mark.slow
def test_two_processes_make_of_the_recipes_what_one_makes(root: Path, tmp_path: Path):
    """Weights whose gradients are rounding alone may differ: AdamW's first steps are as long."""
    recipes = write_recipes(tmp_path / "recipes", tiny_recipes(tmp_path))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "janusflow.cli.main", "train", str(recipes)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found, expected = (np.load(each / "vae" / "latents.npy") for each in (tmp_path, root))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert tower_losses(tmp_path) == pytest.approx(tower_losses(root), rel=1e-4)
    assert load(tmp_path / "ship" / "model").keys() == load(root / "ship" / "model").keys()
    (image,) = janusflow.load(tmp_path / "ship").generate("a red circle", steps=1, seed=0)
    assert image.size == (64, 64)
