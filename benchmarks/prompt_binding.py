"""Where drawing two objects goes wrong: what prompts teach at each time, and what noise keeps.

Run: python benchmarks/prompt_binding.py [MODEL] [--scenes 64] [--steps 20] [--guidance 2]

Of training scenes of two objects that share neither colour nor shape, named as plans name them:

1. The velocity loss per latent value at time t, and by how much it is higher with a prompt that
   exchanges the two colours, the two shapes, or both, or with another scene's prompt. 0.00 where it
   should not be: the words are not bound to places.
2. How many are drawn right from t on, beginning with the true latent noised to t, as in SDEdit.
   Wrong from a late t: it is not the prompt that was not understood, the model spoils what it sees.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import janusflow
from janusflow.evaluation.shapes.prompts import kinds
from janusflow.flow import point_on_path
from janusflow.inference.drawing.prompts import encode_texts
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.language.captions import planned_caption
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import Scene, position, sample_scene
from janusflow.mini.training.sources import pixel_values

LOSS_TIMES = (0.01, 0.05, 0.1, 0.2, 0.3)
START_TIMES = (0.02, 0.1, 0.2, 0.3, 0.5, 0.8)
EXCHANGES = {"colours": ("colour",), "shapes": ("shape",), "both": ("colour", "shape")}


def placed_pairs(num_scenes: int) -> list[Scene]:
    """Scenes whose two objects differ in both traits and stand where words can say."""
    found, rng = [], np.random.default_rng(9)
    while len(found) < num_scenes:
        scene = sample_scene(rng, num_objects=2, identical=False)
        a, b = scene.objects
        if position(a) and position(b) and a.colour != b.colour and a.shape != b.shape:
            found.append(scene)
    return found


def exchanged(scene: Scene, traits: tuple[str, ...]) -> Scene:
    """The scene with these traits of its two objects changed round."""
    a, b = scene.objects
    of_a, of_b = ({trait: getattr(thing, trait) for trait in traits} for thing in (a, b))
    return replace(scene, objects=(replace(a, **of_b), replace(b, **of_a)))


def prompts(scenes: list[Scene]) -> list[str]:
    """Plans; one scene's say as much of sizes and backgrounds."""
    planned = [
        planned_caption(scene, np.random.default_rng((7, i)), language="en", placed=0.0, plain=0.0)
        for i, scene in enumerate(scenes)
    ]
    return [each.plan for each in planned if each is not None]


@torch.no_grad()
def losses(jf: JanusFlow, words: list[str], latents: Tensor, t: float) -> Float[Tensor, " n"]:
    """Mean squared error of each velocity; the noise is the same in every call."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    times = torch.full((len(latents),), t)
    point = point_on_path(data=latents, noise=noise, t=times)
    read = encode_texts(jf.model, jf.processor, words, is_guided=False)
    prompts = read.cache.select([read.texts.index(text) for text in words])
    velocity = jf.model.velocity(point.x_t, times, prompts)
    return (velocity - point.velocity).square().mean((1, 2, 3))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="Euler steps of every drawing.")
    parser.add_argument("--guidance", type=float, default=2.0)
    options = parser.parse_args()
    jf = janusflow.load(options.model)
    scenes = placed_pairs(options.scenes)
    images = [render(scene, size=jf.image_size) for scene in scenes]
    pixels = pixel_values(np.stack([np.asarray(image) for image in images]))
    with torch.no_grad():
        latents = jf.vae.encode(pixels, return_dict=False)[0].mean
    true = prompts(scenes)
    wrong = {
        name: prompts([exchanged(s, traits) for s in scenes]) for name, traits in EXCHANGES.items()
    } | {"another": true[1:] + true[:1]}
    print("   t    loss  and with " + "  ".join(f"{name:>14s}" for name in wrong))
    for t in LOSS_TIMES:
        right = losses(jf, true, latents, t)
        more = [losses(jf, words, latents, t) - right for words in wrong.values()]
        cells = [f"+{each.mean():.3f} ({(each > 0).float().mean():4.0%})" for each in more]
        print(f"{t:4.2f}  {right.mean():6.3f}           " + "  ".join(f"{c:>14s}" for c in cells))
    for t in START_TIMES:
        num_right = 0
        for index, (scene, image, words) in enumerate(zip(scenes, images, true, strict=True)):
            (drawn,) = jf.generate(
                [words],
                steps=options.steps,
                guidance=options.guidance,
                seed=index,
                init_image=image,
                strength=1 - t,
            )
            num_right += kinds(found.thing for found in look_at(drawn)) == kinds(scene.objects)
        print(f"drawn right from t = {t:4.2f}: {num_right} of {len(scenes)}")


if __name__ == "__main__":
    main()
