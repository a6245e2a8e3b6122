"""A stage recipe whose parts are on disk as configurations alone; its scenes are real."""

import json
from pathlib import Path
from typing import Any

import yaml
from tiny_run import LLM, MODEL, VAE, VISION, make_sources, run_model, run_processor

from janusflow.config.recipes import StageRecipe
from janusflow.training.recipes import read_recipe

RATIOS = [{"understanding": 1, "generation": 2, "text": 1}]


def write_parts(root: Path) -> Path:
    """Scenes with latents, processor, VAE, tower and a model to start from."""
    make_sources(root / "scenes")
    run_processor().save_pretrained(root / "processor")
    write_config(root / "vae", VAE)
    write_config(root / "tower", {"model_type": "siglip_vision_model", **VISION})
    write_config(root / "start", run_model().config.to_dict())
    return root


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def stage_tree(root: Path, **changes: Any) -> dict[str, Any]:
    """What the recipe's file holds."""
    scenes = {"format": "scenes", "path": str(root / "scenes")}
    tree = {
        "task": "stage",
        "run": str(root / "run"),
        "start": str(root / "start"),
        "processor": str(root / "processor"),
        "vae": str(root / "vae"),
        "data": {
            "understanding": [scenes],
            "generation": [scenes | {"options": {"latents": str(root / "scenes/latents.npy")}}],
            "text": [scenes],
        },
        "trainable": ["aligners", "generation_encoder", "generation_decoder", "repa_head", "llm"],
        "mixture": {"batch_size": 8, "row_tokens": 400, "ratios": RATIOS},
        "loop": {"steps": 10},
    }
    return tree | changes


def stage_recipe(root: Path, **changes: Any) -> StageRecipe:
    """The recipe, read from a file."""
    path = root / "stage.yaml"
    path.write_text(yaml.safe_dump(stage_tree(root, **changes)), encoding="utf-8")
    return read_recipe(path)


def new_from_parts(root: Path) -> dict[str, Any]:
    """Settings of a model around the tower."""
    return {**MODEL, "llm_config": LLM, "tower": str(root / "tower")}
