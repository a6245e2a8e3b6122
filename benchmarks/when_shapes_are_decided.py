"""At which times of the flow a prompt's name of a thing matters, by exact inference on latents.

Run: python benchmarks/when_shapes_are_decided.py [--vae janusflow/mini/assets] [--size small]
     python benchmarks/when_shapes_are_decided.py --vae runs/emoji/vae --emoji runs/emoji/data

Shapes: one blue object of known size on cream, its shape and place unknown. Emoji: all that are
learnt, in both styles. The set of possible clean latents is finite, so the posterior given
x_t = t data + (1 - t) noise is exact. Printed for each time: how often its best name is right
(chance 11% for shapes), and the velocity loss per latent value of the best prediction without and
with the name known. Where these losses are equal, no prompt can teach a model the name: there the
noisy latent shows it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import Tensor

from janusflow.interop.vae import encode_images, load_vae
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import (
    LATTICE,
    SHAPES,
    SIZES,
    Background,
    Scene,
    SceneObject,
    Size,
)
from janusflow.mini.training.sources import pixel_values

TIMES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
NUM_DRAWS = 1000
BACKGROUND = Background(kind="plain", tones=("cream",))


def images(size: Size) -> tuple[np.ndarray, Tensor]:
    """Every shape at every place inside the image; images and numbers of their names."""
    inside = [
        i / LATTICE
        for i in range(LATTICE)
        if all(
            SceneObject(shape="circle", colour="blue", size=size, x=x, y=x).bound < x
            for x in (i / LATTICE, 1 - i / LATTICE)
        )
    ]
    scenes = [
        Scene(
            objects=(SceneObject(shape=shape, colour="blue", size=size, x=x, y=y),),
            background=BACKGROUND,
        )
        for shape in SHAPES
        for x in inside
        for y in inside
    ]
    shape_index = torch.arange(len(SHAPES)).repeat_interleave(len(inside) ** 2)
    return np.stack([np.asarray(render(scene)) for scene in scenes]), shape_index


def emoji(folder: Path) -> tuple[np.ndarray, Tensor]:
    """All learnt emoji (docs/emoji.md); images and numbers of their names."""
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    learnt = [json.loads(line) for line in lines]
    numbers = {code: n for n, code in enumerate({each["hexcode"]: None for each in learnt})}
    opened = (Image.open(folder / each["image"]).convert("RGB") for each in learnt)
    rgb = np.stack([np.asarray(image.resize((64, 64))) for image in opened])
    return rgb, torch.tensor([numbers[each["hexcode"]] for each in learnt])


@torch.no_grad()
def latents(vae: AutoencoderKL, rgb: np.ndarray) -> Tensor:
    """Mean latents, [image, value]."""
    chunks = [
        encode_images(vae, pixel_values(rgb[start : start + 128]))
        for start in range(0, len(rgb), 128)
    ]
    return torch.cat(chunks).flatten(1)


def at_time(data: Tensor, name_index: Tensor, t: float) -> tuple[float, float, float]:
    """Accuracy of the likeliest name, velocity loss without and with the name known."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(len(data), (NUM_DRAWS,), generator=generator)
    noise = torch.randn(NUM_DRAWS, data.shape[1], generator=generator)
    x_t = t * data[true] + (1 - t) * noise
    posterior = (-torch.cdist(x_t, t * data).square() / (2 * (1 - t) ** 2)).softmax(1)
    num_names = int(name_index.max()) + 1
    by_name = torch.zeros(NUM_DRAWS, num_names).index_add_(1, name_index, posterior)
    accuracy = float((by_name.argmax(1) == name_index[true]).float().mean())
    told = posterior * (name_index[None] == name_index[true][:, None])
    told = told / told.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    # data - noise = (data - x_t) / (1 - t), so errors of the data are errors of the velocity.
    losses = [
        float((weights @ data - data[true]).square().mean() / (1 - t) ** 2)
        for weights in (posterior, told)
    ]
    return accuracy, *losses


def main() -> None:
    """Print one line a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", default="janusflow/mini/assets")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--emoji", type=Path, metavar="FOLDER", help="emoji instead of shapes")
    options = parser.parse_args()
    rgb, name_index = images(options.size) if options.emoji is None else emoji(options.emoji)
    data = latents(load_vae(options.vae), rgb)
    what = f"{options.size} objects" if options.emoji is None else "emoji"
    print(f"{len(data)} clean latents, {what}, {NUM_DRAWS} draws a time")
    print("t      name right   loss without   with the name")
    for t in TIMES:
        accuracy, without, told = at_time(data, name_index, t)
        print(f"{t:4.2f}   {100 * accuracy:8.1f} %   {without:12.4f}   {told:14.4f}")


if __name__ == "__main__":
    main()
