"""How well do objects fill their outlines once a VAE has rebuilt their images?

Run: python benchmarks/rebuilt_outlines.py janusflow/mini/assets runs/mini/decoder [--scenes 300]

Fresh scenes of held-out compositions. No drawing through this VAE can be expected to do better.
"""

import argparse

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import CheckpointError
from janusflow.interop.vae import decode_images, encode_images, load_vae, psnr
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene
from janusflow.processing.images import to_images, to_latent_range


def outlines(pixel_values: Float[Tensor, "n c y x"]) -> float:
    """Mean intersection over union of all objects seen and their shapes."""
    found = [each.overlap for image in to_images(pixel_values) for each in look_at(image)]
    return float(np.mean(found))


@torch.no_grad()
def main() -> None:
    """Print a line a VAE, below that of the true renders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "vaes", nargs="+", metavar="VAE", help="a folder of a VAE, a model or a step"
    )
    parser.add_argument("--scenes", type=int, default=300)
    options = parser.parse_args()
    try:
        vaes = {name: load_vae(name) for name in options.vaes}
    except CheckpointError as error:
        parser.error(str(error))
    rng = np.random.default_rng(17)
    scenes = [sample_scene(rng, split="heldout") for _ in range(options.scenes)]
    true = torch.stack([to_latent_range(render(scene)) for scene in scenes])
    print(f"true renders: {100 * outlines(true):.1f}%")
    for name, vae in vaes.items():
        rebuilt = decode_images(vae, encode_images(vae, true))
        print(f"{name}: {100 * outlines(rebuilt):.1f}%, {psnr(rebuilt, true):.1f} dB")


if __name__ == "__main__":
    main()
