"""At which times of the flow a prompt's shape matters, by exact inference on mini's latents.

Run: python benchmarks/when_shapes_are_decided.py [--vae janusflow/mini/assets/vae] [--size small]

One blue object of known size on cream, its shape and place unknown: the set of possible clean
latents is finite, so the posterior given x_t = t data + (1 - t) noise is exact. Printed for each
time: how often its best shape is right (chance 11%), and the velocity loss per latent value of the
best prediction without and with the shape known. Where these losses are equal, no prompt can teach
a model its shape: there the noisy latent shows it.
"""

import argparse

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from janusflow.mini.render import render
from janusflow.mini.scenes import LATTICE, SHAPES, SIZES, Background, Scene, SceneObject, Size
from janusflow.mini.sources import pixel_values

TIMES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
NUM_DRAWS = 1000
BACKGROUND = Background(kind="plain", tones=("cream",))


def pictures(size: Size) -> tuple[np.ndarray, Tensor]:
    """Every shape at every place inside the picture; pictures and indices of shapes."""
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


@torch.no_grad()
def latents(vae: AutoencoderKL, rgb: np.ndarray) -> Tensor:
    """Mean latents, [picture, value]."""
    chunks = [
        vae.encode(pixel_values(rgb[start : start + 128]), return_dict=False)[0].mean
        for start in range(0, len(rgb), 128)
    ]
    return torch.cat(chunks).flatten(1) * float(vae.config["scaling_factor"])


def at_time(data: Tensor, shape_index: Tensor, t: float) -> tuple[float, float, float]:
    """Accuracy of the likeliest shape, velocity loss without and with the shape known."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(len(data), (NUM_DRAWS,), generator=generator)
    noise = torch.randn(NUM_DRAWS, data.shape[1], generator=generator)
    x_t = t * data[true] + (1 - t) * noise
    posterior = (-torch.cdist(x_t, t * data).square() / (2 * (1 - t) ** 2)).softmax(1)
    by_shape = torch.zeros(NUM_DRAWS, len(SHAPES)).index_add_(1, shape_index, posterior)
    accuracy = float((by_shape.argmax(1) == shape_index[true]).float().mean())
    told = posterior * (shape_index[None] == shape_index[true][:, None])
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
    parser.add_argument("--vae", default="janusflow/mini/assets/vae")
    parser.add_argument("--size", choices=SIZES, default="small")
    options = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(
        options.vae, low_cpu_mem_usage=False, torch_dtype=torch.float32
    )
    rgb, shape_index = pictures(options.size)
    data = latents(vae, rgb)
    print(f"{len(data)} clean latents, {options.size} objects, {NUM_DRAWS} draws a time")
    print("t      shape right   loss without   with the shape")
    for t in TIMES:
        accuracy, without, told = at_time(data, shape_index, t)
        print(f"{t:4.2f}   {100 * accuracy:8.1f} %   {without:12.4f}   {told:14.4f}")


if __name__ == "__main__":
    main()
