"""A VAE learns from images in files: each once before any again, in any split of a step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from tiny_run import VAE

from janusflow.config.errors import ConfigError
from janusflow.config.records import build_record
from janusflow.mini.scenes.dataset import write_scenes
from janusflow.mini.training.images import Sourced, open_images
from janusflow.mini.training.previews import NUM_REBUILT
from janusflow.mini.training.recipes import VaeRecipe
from janusflow.mini.training.runners import start_vae
from janusflow.training.recipes import run_recipes

SIZE, NUM_IMAGES = 16, 6
LOOP = {"steps": 2, "save_every": 2, "optimizer": {"learning_rate": 0.01, "warmup_steps": 0}}


@pytest.fixture(autouse=True)
def _cache_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What `datasets` makes of a file stays with the test."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """A recipe that goes on from a saved VAE; image i has grey level 10 i."""
    lines = []
    for i in range(NUM_IMAGES):
        Image.new("RGB", (SIZE, SIZE), (10 * i,) * 3).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "caption": "grey"}) + "\n")
    (tmp_path / "pictures.jsonl").write_text("".join(lines), encoding="utf-8")
    torch.manual_seed(0)
    AutoencoderKL(**VAE).save_pretrained(tmp_path / "start" / "vae")
    return {
        "task": "vae",
        "run": str(tmp_path / "run"),
        "images": [{"format": "captions", "path": str(tmp_path / "pictures.jsonl")}],
        "start": str(tmp_path / "start"),
        "size": SIZE,
        "batch_size": 4,
        "loop": LOOP,
        "log": {"samples_every": 2},
    }


def recipe_of(tree: dict[str, Any], **changes: Any) -> VaeRecipe:
    return build_record(VaeRecipe, tree | changes, where="recipe")


def numbers(pixel_values: torch.Tensor) -> list[int]:
    """Which images they are."""
    return ((pixel_values[:, 0, 0, 0] + 1) * 12.75).round().int().tolist()


def test_every_image_comes_once_before_any_comes_again(tree: dict[str, Any]):
    images = Sourced(recipe_of(tree))
    shown = [n for step in range(3) for n in numbers(images.batch(step, range(4)).pixel_values)]
    assert sorted(shown[:NUM_IMAGES]) == sorted(shown[NUM_IMAGES:]) == list(range(NUM_IMAGES))


def test_a_image_of_a_step_does_not_depend_on_the_others(tree: dict[str, Any]):
    images = Sourced(recipe_of(tree))
    whole, part = images.batch(1, range(4)), images.batch(1, [1, 3])
    torch.testing.assert_close(part.pixel_values, whole.pixel_values[[1, 3]], rtol=0, atol=0)
    assert part.seeds == (whole.seeds[1], whole.seeds[3])
    assert len(set(whole.seeds)) == 4


def test_samples_show_what_is_held_out(tree: dict[str, Any], tmp_path: Path):
    held_out = tmp_path / "one.jsonl"
    held_out.write_text('{"image": "3.png", "caption": "grey"}\n', encoding="utf-8")
    named = recipe_of(tree, held_out=[{"format": "captions", "path": str(held_out)}])
    assert numbers(open_images(named).held_out()) == [3] * NUM_REBUILT
    assert set(numbers(open_images(recipe_of(tree)).held_out())) == set(range(NUM_IMAGES))


@pytest.mark.slow
def test_a_run_goes_on_from_a_vae_and_standardises_it_on_its_own_images(
    tree: dict[str, Any], tmp_path: Path, write_recipe: Callable[[dict[str, Any]], Path]
):
    (run,) = run_recipes(write_recipe(tree), ("loop.optimizer.learning_rate=1e-12",))
    before, after = start_vae(recipe_of(tree)), start_vae(recipe_of(tree, start=str(run)))
    images = torch.cat(list(Sourced(recipe_of(tree)).chunks(NUM_IMAGES)))
    with torch.no_grad():
        wanted = before.decode(before.encode(images).latent_dist.mean).sample
        means = after.encode(images).latent_dist.mean
        found = after.decode(means).sample
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert means.mean((0, 2, 3)).abs().max() < 1e-2
    assert not (run / "latents.npy").exists()
    (line,) = (run / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["step"] == 2


def test_a_decoder_learns_alone_and_every_latent_stays(
    tree: dict[str, Any], tmp_path: Path, write_recipe: Callable[[dict[str, Any]], Path]
):
    write_scenes(tmp_path / "scenes", num_scenes=4, size=SIZE, seed=3)
    learnt = {"scenes": str(tmp_path / "scenes"), "images": [], "decoder_only": True}
    (run,) = run_recipes(write_recipe(tree | learnt))
    before, after = start_vae(recipe_of(tree)), start_vae(recipe_of(tree, start=str(run)))
    changed = {
        name
        for name, weight in before.state_dict().items()
        if not torch.equal(weight, after.state_dict()[name])
    }
    decodes = {n for n in before.state_dict() if n.startswith(("decoder", "post_quant_conv"))}
    assert changed == decodes
    assert after.config == before.config | {"_name_or_path": after.config["_name_or_path"]}
    assert not (run / "latents.npy").exists()


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(tree: dict[str, Any]) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": "x"}, "name one of them to learn from"),
        ({"images": []}, "scenes=None and images=0 sources"),
        ({"model": VAE}, "name a VAE to start from, or what to build"),
        ({"start": None}, "start=None and model=None"),
        (
            {"start": None, "model": VAE, "decoder_only": True},
            "decoder_only=True without start: name the VAE",
        ),
        ({"size": 0}, "size=0 must be at least 1"),
    ],
)
def test_a_recipe_names_one_source_and_one_vae(
    tree: dict[str, Any], changes: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        recipe_of(tree, **changes)
