"""A cache of latents and features: training from it is training without it, minus the computing."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from forked import torchrun
from PIL import Image
from safetensors import safe_open
from tiny_recipes import tiny_recipes

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.data import prepare
from janusflow.interop.hub import find_model
from janusflow.interop.load import load_model
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.recipes import read_stage, run_recipes
from janusflow.training.stage.caching import Filling, fill_cache

COLOURS = ("red", "green", "blue", "yellow", "black")
LOSSES = ("ce_answer", "flow_mse", "repa")
FROZEN = "trainable=[aligners, generation_encoder, generation_decoder, repa_head, llm]"
TRAINED = "trainable=[aligners, llm, understanding_encoder]"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mini's steps before the stages, wide images of two halves, and a recipe about them."""
    root = tmp_path_factory.mktemp("caching")
    trees = tiny_recipes(root)
    for name, tree in trees.items():
        if name < "6":
            (root / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    run_recipes(root)
    rows = []
    for number, colour in enumerate(COLOURS):
        image = Image.new("RGB", (150 + number, 70), colour)
        image.paste("white", (0, 0, 75, 70))
        image.save(root / f"{colour}.png")
        rows += [{"image": f"{colour}.png", "caption": each} for each in (colour, f"all {colour}")]
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    captions = {"format": "captions", "path": str(root / "pairs.jsonl")}
    tree = trees["6-stage1"]
    tree["data"] = {"understanding": [captions], "generation": [captions], "crops": 3}
    tree["mixture"] = {
        "batch_size": 6,
        "ratios": [{"understanding": 1, "generation": 1, "text": 0}],
    }
    tree["loop"] = tree["loop"] | {"steps": 4, "log_every": 1}
    (root / "stage.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return root


def filled(root: Path, cache: Path, *overrides: str) -> dict[str, int]:
    """How many images each store got."""
    overrides = (f"data.cache={cache}", *overrides)
    return dict(fill_cache(read_stage(root / "stage.yaml", overrides)).num_added)


def losses(root: Path, run: Path, *overrides: str) -> list[dict[str, float]]:
    run_recipes(root / "stage.yaml", (f"run={run}", *overrides))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in LOSSES} for line in lines]


def count_work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is opened and computed from here on."""
    done: Counter[str] = Counter()

    def counting(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            done[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)

    counting(prepare, "open_image")
    counting(AutoencoderKL, "encode")
    counting(JanusFlowForConditionalGeneration, "understanding_features")
    return done


def test_from_a_cache_a_frozen_tower_and_the_vae_are_never_asked_and_losses_are_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    assert filled(root, cache, FROZEN) == {
        "understanding_features": 5,
        "latents": 5,
        "generation_features": 5,
    }
    work = count_work(monkeypatch)
    plain = losses(root, tmp_path / "plain", FROZEN)
    assert min(work.values()) > 0
    assert set(work) == {"open_image", "encode", "understanding_features"}
    work.clear()
    found = losses(root, tmp_path / "cached", FROZEN, f"data.cache={cache}")
    assert not work
    assert len(found) == 4
    for one, other in zip(found, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_tower_that_trains_is_shown_pixels_and_latents_come_from_the_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    assert filled(root, cache, TRAINED) == {"latents": 5}
    plain = losses(root, tmp_path / "plain", TRAINED)
    work = count_work(monkeypatch)
    found = losses(root, tmp_path / "cached", TRAINED, f"data.cache={cache}")
    assert work["encode"] == 0 < work["understanding_features"]
    for one, other in zip(found, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_crops_differ_and_each_is_kept(root: Path, tmp_path: Path):
    """The images are white on the left: the first square has another latent than the last."""
    filled(root, tmp_path)
    (shard,) = tmp_path.glob("latents-*/*.safetensors")
    with safe_open(shard, "pt") as file:
        latents = file.get_tensor("values")
    assert latents.shape == (5, 3, 4, 8, 8)
    assert not torch.allclose(latents[:, 0], latents[:, 2], atol=1e-3)


def test_an_interrupted_filling_goes_on_where_it_was(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    taken = 0
    add = Filling.add

    def add_two(self: Filling, key: int, pixels: torch.Tensor) -> None:
        nonlocal taken
        taken += 1
        if taken > 6:
            raise KeyboardInterrupt
        add(self, key, pixels)

    monkeypatch.setattr(Filling, "add", add_two)
    monkeypatch.setattr("janusflow.training.stage.caching.BATCH", 1)
    monkeypatch.setattr("janusflow.training.stage.caching.SHARD_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        filled(root, tmp_path, FROZEN)
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(before) == 6
    rest = filled(root, tmp_path, FROZEN)
    assert sum(rest.values()) == 15 - 6
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert set(filled(root, tmp_path, FROZEN).values()) == {0}


@pytest.mark.slow
def test_two_processes_share_the_images(root: Path, tmp_path: Path):
    first, second = torchrun(2, "data", "cache", root / "stage.yaml", f"data.cache={tmp_path}")
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    assert first.stdout.count("5 images added") == len(first.stdout.splitlines()) == 3
    assert second.stdout == ""
    assert len(list(tmp_path.glob("latents-*/*.safetensors"))) == 2
    assert set(filled(root, tmp_path).values()) == {0}


def test_features_in_halves_take_half_the_room(root: Path, tmp_path: Path):
    def num_bytes(folder: Path, *overrides: str) -> int:
        filled(root, folder, FROZEN, *overrides)
        (shard,) = folder.glob("understanding_features-*/*.safetensors")
        with safe_open(shard, "pt") as file:
            return file.get_tensor("values").nbytes

    whole = num_bytes(tmp_path / "whole")
    assert num_bytes(tmp_path / "half", "data.cached_features=bf16") == whole / 2


def test_values_of_other_models_and_crops_are_not_found(root: Path, tmp_path: Path):
    filled(root, tmp_path)
    with pytest.raises(ConfigError, match="has no latents, generation_features of this recipe"):
        losses(root, tmp_path / "run", f"data.cache={tmp_path}", "data.crops=2")
    start = read_stage(root / "stage.yaml").start
    assert start is not None
    model = load_model(find_model(start), dtype=torch.float32)
    with torch.no_grad():
        next(model.understanding_encoder.parameters()).add_(1e-3)
    model.save_pretrained(tmp_path / "other")
    given = (f"data.cache={tmp_path}", f"start={tmp_path / 'other'}")
    with pytest.raises(
        ConfigError, match="has no understanding_features, generation_features of this"
    ):
        losses(root, tmp_path / "again", *given)


def test_a_image_that_is_not_there_is_a_bad_row_that_names_the_cure(root: Path, tmp_path: Path):
    filled(root, tmp_path / "cache", "data.crops=1")
    kept = (root / "red.png").read_bytes()
    Image.new("RGB", (99, 70), "pink").save(root / "red.png")
    try:
        given = (f"data.cache={tmp_path / 'cache'}", "data.crops=1", "mixture.max_bad_share=0.9")
        losses(root, tmp_path / "run", *given)
    finally:
        (root / "red.png").write_bytes(kept)
    told = [json.loads(line) for line in (tmp_path / "run/bad-rows.jsonl").read_text().splitlines()]
    assert {each["row"] for each in told} <= {0, 1}
    assert all("run `janusflow data cache`" in each["why"] for each in told)


def test_a_damaged_shard_is_named(root: Path, tmp_path: Path):
    filled(root, tmp_path)
    (shard,) = tmp_path.glob("latents-*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(CheckpointError, match=rf"{shard.name} is a damaged part of a cache"):
        losses(root, tmp_path / "run", f"data.cache={tmp_path}")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("data.crops=null",), "cache=.* with crops=null: say how many squares"),
        (("data.crops=0",), "crops=0"),
        (("data.cached_features=fp8",), "fp8"),
        (("data.understanding=[{format: scenes, path: a}]",), r"a \(format scenes\): a cache is"),
        (
            ("data.generation=[{format: captions, path: b, options: {streaming: true}}]",),
            r"b \(format captions\): a cache is of image files at hand",
        ),
    ],
)
def test_what_cannot_be_cached_is_refused(
    root: Path, tmp_path: Path, settings: tuple[str, ...], told: str
):
    with pytest.raises(ConfigError, match=told):
        filled(root, tmp_path, *settings)


def test_a_recipe_without_a_cache_is_refused(root: Path):
    with pytest.raises(ConfigError, match=r"data\.cache=null: name the folder"):
        fill_cache(read_stage(root / "stage.yaml"))
