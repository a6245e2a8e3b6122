"""Recipes from scenes to shipped weights, each of a second, for the tests of recipes."""

from pathlib import Path
from typing import Any

import yaml
from tiny_run import LLM, MODEL, NUM_IMAGE_TOKENS, VAE, VISION, VOCAB_SIZE

NUM_SCENES = 10
IMAGE = ("image_size", "patch_size")
TEXT = {n: VISION[n] for n in VISION if n not in IMAGE} | {"max_position_embeddings": 16}
LOOP = {"steps": 2, "save_every": 2, "optimizer": {"learning_rate": 0.01, "warmup_steps": 0}}


def tiny_recipes(root: Path) -> dict[str, dict[str, Any]]:
    """Every step by its file's name; runs lie under `root`."""
    runs = {name: str(root / name) for name in ("scenes", "tokenizer", "vae", "siglip")}
    return parts(runs) | stages(root, runs)


def parts(runs: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What the paper takes pretrained."""
    return {
        "1-scenes": {"task": "scenes", "run": runs["scenes"], "num_scenes": NUM_SCENES},
        "2-tokenizer": {
            "task": "tokenizer",
            "run": runs["tokenizer"],
            "vocab_size": VOCAB_SIZE,
            "num_texts": 100,
            "num_image_tokens": NUM_IMAGE_TOKENS,
        },
        "3-vae": {
            "task": "vae",
            "run": runs["vae"],
            "scenes": runs["scenes"],
            "model": VAE,
            "batch_size": 2,
            "loop": LOOP,
        },
        "4-siglip": {
            "task": "siglip",
            "run": runs["siglip"],
            "scenes": runs["scenes"],
            "tokenizer": runs["tokenizer"],
            "vision": VISION,
            "text": TEXT,
            "batch_size": 2,
            "loop": LOOP,
        },
    }


def stages(root: Path, runs: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The model itself."""
    scenes = {"format": "scenes", "path": runs["scenes"]}
    stage = {
        "task": "stage",
        "processor": runs["tokenizer"],
        "vae": runs["vae"],
        "data": {
            "understanding": [scenes],
            "generation": [scenes | {"options": {"latents": f"{runs['vae']}/latents.npy"}}],
            "text": [scenes],
        },
        "loop": LOOP,
    }
    half = {"understanding": 50, "generation": 50, "text": 0}
    return {
        "5-language": {
            **stage,
            "run": str(root / "language"),
            "new": {**MODEL, "tower": str(root / "siglip" / "tower"), "llm_config": LLM},
            "trainable": ["llm"],
            "mixture": {
                "batch_size": 2,
                "ratios": [{"understanding": 0, "generation": 0, "text": 1}],
            },
        },
        "6-stage1": {
            **stage,
            "run": str(root / "stage1"),
            "start": str(root / "language"),
            "trainable": ["aligners", "generation_encoder", "generation_decoder", "repa_head"],
            "mixture": {"batch_size": 2, "ratios": [half]},
        },
        "7-ship": {"task": "ship", "run": str(root / "ship"), "start": str(root / "stage1")},
    }


def write_recipes(folder: Path, recipes: dict[str, dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, tree in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder
