"""How much faster a stage with a frozen tower trains from a cache of latents and features.

Run: OMP_NUM_THREADS=2 python benchmarks/feature_cache.py [--steps 10] [--size 256]
The shipped weights of `mini`, stage 2's mixture without texts, rendered scenes as PNG files of
`--size` pixels that are opened and scaled down to mini's 64. Every step is done plainly and from
the cache in turn, its samples made before it in the same process; printed are medians.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from PIL import Image

import janusflow.mini
from janusflow.config.recipes import StageRecipe
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.batches.mixture import mixed_batches, sources_by_kind
from janusflow.data.prepare import preparation
from janusflow.data.sources.formats import open_sources
from janusflow.mini.scenes.dataset import SceneFolder, write_scenes
from janusflow.training.engine.loop import start, train_step
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.recipes import read_stage
from janusflow.training.stage.build_model import load_processor_and_vae, start_model
from janusflow.training.stage.caching import Cache
from janusflow.training.stage.freezing import train_only

ASSETS = Path(janusflow.mini.__file__).parent / "assets"
NUM_IMAGES = 256


def recipe_in(root: Path, *, size: int) -> StageRecipe:
    """Stage 2 of mini from the shipped weights, on image files."""
    write_scenes(root / "scenes", num_scenes=NUM_IMAGES, size=64, seed=0)
    rows = []
    for number, pixels in enumerate(SceneFolder(root / "scenes").images):
        Image.fromarray(pixels).resize((size, size)).save(root / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": f"a picture with the number {number}"})
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    captions = {"format": "captions", "path": str(root / "pairs.jsonl")}
    tree = {
        "task": "stage",
        "run": str(root / "run"),
        "start": str(ASSETS),
        "processor": str(ASSETS),
        "vae": str(ASSETS / "vae"),
        "data": {
            "understanding": [captions],
            "generation": [captions],
            "crops": 1,
            "cache": str(root / "cache"),
        },
        "trainable": ["aligners", "generation_encoder", "generation_decoder", "repa_head", "llm"],
        "mixture": {
            "batch_size": 32,
            "row_tokens": 416,
            "ratios": [{"understanding": 15, "generation": 85, "text": 0}],
        },
    }
    (root / "stage.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return read_stage(root / "stage.yaml")


def main() -> None:
    """Fill a cache, then time steps with it and without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_in(Path(folder), size=options.size)
        processor, vae = load_processor_and_vae(recipe)
        model = start_model(recipe, processor)
        train_only(model, recipe.trainable)
        plainly = preparation(processor, model.config, vae, crops=1)
        cache = Cache(recipe, model, vae, plainly)
        begin = time.perf_counter()
        cache.fill()
        print(f"filling: {NUM_IMAGES / (time.perf_counter() - begin):.0f} images/s")
        num_bytes = sum(os.path.getsize(each) for each in recipe.data.cache.rglob("*.safetensors"))
        print(f"room: {num_bytes / NUM_IMAGES / 1024:.0f} KiB an image")
        collate = Collator(processor.tokenizer.backend_tokenizer, model.config, row_tokens=416)

        def batches(prepare: object) -> Iterator[list[TrainBatch]]:
            sources = open_sources(sources_by_kind(recipe.data), prepare)
            return mixed_batches(sources, collate, recipe.mixture, seed=0, step=0)

        ways = {"plain": batches(plainly), "cached": batches(cache.preparation())}
        state = start(
            JanusFlowObjective(model, recipe.objective, vae=vae), recipe.loop, run=recipe.run
        )
        took: dict[str, list[float]] = {
            f"{way} {what}": [] for way in ways for what in ("data", "step")
        }
        for number in range(options.steps + 1):
            for way, made in ways.items():
                begin = time.perf_counter()
                batch = next(made)
                ready = time.perf_counter()
                train_step(state, batch, recipe.loop)
                done = time.perf_counter()
                if number:  # the first step warms up
                    took[f"{way} data"].append(ready - begin)
                    took[f"{way} step"].append(done - ready)
    for name, seconds in took.items():
        print(f"{name:12} {statistics.median(seconds):.3f} s")
    ratios = [
        (took["plain data"][i] + took["plain step"][i])
        / (took["cached data"][i] + took["cached step"][i])
        for i in range(options.steps)
    ]
    print(f"cached: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()
