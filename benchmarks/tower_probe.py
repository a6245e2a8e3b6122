"""What single patches of an understanding tower say, and how local they are.

Run: python benchmarks/tower_probe.py runs/mini/siglip/tower [--scenes 600]

A ridge classifier reads colour, shape and size of an object from each patch the object owns
(mini/scenes/regions.py); it is fitted on one half of freshly drawn scenes and measured on the
other.
The variance of the features is split into what differs between images, what differs between
positions, and the rest, which is what happens at a place of one image.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import SiglipVisionModel

from janusflow.mini.scenes.regions import region_of_patch
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import COLOURS, SHAPES, SIZES, Scene, sample_scene
from janusflow.mini.training.sources import pixel_values

SEED = 77
RIDGE = 0.5
BATCH = 100
TRAITS = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}


@torch.no_grad()
def features(tower: SiglipVisionModel, scenes: list[Scene]) -> Tensor:
    """Patch features of the rendered scenes, [scene, patch, width]."""
    size = int(tower.config.image_size)
    images = np.stack([np.asarray(render(scene, size=size)) for scene in scenes])
    chunks = [
        tower(pixel_values=pixel_values(images[start : start + BATCH])).last_hidden_state
        for start in range(0, len(images), BATCH)
    ]
    return torch.cat(chunks)


def variance_shares(x: Tensor) -> dict[str, float]:
    """Share of the variance between images and between positions."""
    total = x.var(dim=(0, 1)).sum()
    return {
        "between images": float(x.mean(1).var(0).sum() / total),
        "between positions": float(x.mean(0).var(0).sum() / total),
    }


def patch_accuracy(x: Tensor, scenes: list[Scene], *, size: int) -> dict[str, float]:
    """How often a patch of an object tells each trait of it."""
    grid = round(x.shape[1] ** 0.5)
    owners = [region_of_patch(scene, size=size, grid=grid) for scene in scenes]
    where = [(i, p) for i, owner in enumerate(owners) for p in np.flatnonzero(owner > 0)]
    things = [scenes[i].objects[owners[i][p] - 1] for i, p in where]
    rows = torch.stack([x[i, p] for i, p in where])
    rows = torch.cat([rows / rows.std(), torch.ones(len(rows), 1)], dim=1)
    fitted = torch.tensor([i < len(scenes) // 2 for i, _ in where])
    gram = rows[fitted].T @ rows[fitted] + RIDGE * torch.eye(rows.shape[1])
    accuracy = {}
    for trait, names in TRAITS.items():
        labels = torch.tensor([names.index(getattr(thing, trait)) for thing in things])
        target = torch.nn.functional.one_hot(labels[fitted], len(names)).float()
        weights = torch.linalg.solve(gram, rows[fitted].T @ target)
        guessed = (rows[~fitted] @ weights).argmax(1)
        accuracy[trait] = float((guessed == labels[~fitted]).float().mean())
    return accuracy


def main() -> None:
    """Print variance shares and accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tower", type=Path)
    parser.add_argument("--scenes", type=int, default=600)
    options = parser.parse_args()
    tower = SiglipVisionModel.from_pretrained(options.tower).eval()
    scenes = [sample_scene(np.random.default_rng((SEED, i))) for i in range(options.scenes)]
    x = features(tower, scenes)
    measured = variance_shares(x) | patch_accuracy(x, scenes, size=int(tower.config.image_size))
    for name, share in measured.items():
        print(f"{name:18s} {100 * share:5.1f} %")


if __name__ == "__main__":
    main()
