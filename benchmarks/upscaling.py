"""How near images made twice as large come to the truth: scenes rendered at both sizes.

Run: python benchmarks/upscaling.py [--limit 50] [--methods "lanczos:2 refine:2"] [--sheet F.png]

Held-out scenes are rendered at mini's 64 pixels, made twice as large, and compared with their
renders at 128. Beside the methods of `--upscale` there are, to be compared with:

realesrgan:2+low    Real-ESRGAN's detail on the image's own low band, as refine keeps it
flow:STRENGTH       refine, with the latents drawn anew over this share of the path before they are
                    decoded: windows of mini's size, half a window apart, their velocities averaged
                    where they overlap, without a prompt

Columns:

psnr        in dB, mean over images
difference  of that to the first method's, paired, with its 95% interval
sharpness   energy of the gradient, in shares of the truth's; 1 is as sharp as it
right       share of images in which the detector finds the scene's objects
seconds     an image, on this machine in this run
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import janusflow
from janusflow.evaluation.core.scores import mean
from janusflow.flow import Velocity, VelocityQuery, run_sampler, sample_noise
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.prompts import (
    PromptEncoding,
    PromptVelocity,
    prompt_of,
)
from janusflow.inference.drawing.sampling import DrawingSettings, image_sampler
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.upscaling.refinement import resized, with_low_band
from janusflow.inference.upscaling.upscalers import make_upscaler
from janusflow.interop.vae import decode_images, encode_images
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import Scene, sample_scene
from janusflow.model.prompt import unconditional
from janusflow.processing.images import to_images, to_latent_range

METHODS = "lanczos:2 realesrgan:2 realesrgan:2+low refine:2 flow:0.02 flow:0.05 flow:0.1 flow:0.2"
LOW, FLOW = "+low", "flow:"
FACTOR, SEED, STEPS, BATCH = 2, 2024, 40, 10
Images = list[Image.Image]


def in_windows(velocity: PromptVelocity, *, size: int) -> Velocity:
    """Of a larger canvas: every window's velocity, averaged where windows overlap.

    Args:
        velocity: of one image, whose rows are repeated.
        size: rows and columns of a window, in latent cells; windows are half of that apart.
    """

    def of_canvas(query: VelocityQuery) -> Tensor:
        x_t = query.x_t
        starts = range(0, x_t.shape[-1] - size + 1, size // 2)
        places = [(..., slice(y, y + size), slice(x, x + size)) for y, x in product(starts, starts)]
        cut = torch.cat([x_t[place] for place in places])
        rows = (0,) * len(cut)
        found = velocity(query._replace(x_t=cut, rows=rows)).chunk(len(places))
        total, weight = torch.zeros_like(x_t), torch.zeros_like(x_t)
        ramp = torch.hann_window(size + 2, periodic=False)[1:-1]
        share = ramp[:, None] * ramp
        for place, own in zip(places, found, strict=True):
            total[place] += own * share
            weight[place] += share
        return total / weight

    return of_canvas


@torch.no_grad()
def with_flow(jf: JanusFlow, small: Images, *, strength: float) -> Images:
    """Refine, with the flow between the VAE's two halves."""
    nothing = jf.model.encode_prompt(unconditional(prompt_of(jf.model, jf.processor, [""])))
    prompts = PromptEncoding(texts=[""], cache=nothing, unconditional_rows=[])
    velocity = PromptVelocity(jf.model, prompts, [[""]])
    latents = encode_images(jf.vae, pixels([resized(each, factor=FACTOR) for each in small]))
    noise = sample_noise(latents.shape[1:], seeds=[*range(len(small))], device=latents.device)
    sampler = image_sampler(
        noise,
        DrawingSettings(steps=STEPS, guidance=1.0),
        init_image=InitImage(latent=latents, strength=strength),
    )
    drawn = run_sampler(sampler, in_windows(velocity, size=jf.model.config.generation.latent_size))
    return to_images(with_low_band(decode_images(jf.vae, drawn), pixels(small)))


def made_larger(jf: JanusFlow, small: Images, method: str) -> Images:
    """All images by one method."""
    if method.startswith(FLOW):
        strength = float(method.removeprefix(FLOW))
        batches = [small[first : first + BATCH] for first in range(0, len(small), BATCH)]
        return [large for batch in batches for large in with_flow(jf, batch, strength=strength)]
    name = method.removesuffix(LOW)
    large = make_upscaler(name, vae=jf.vae, device=jf.model.device)(small)
    if name == method:
        return large
    return to_images(with_low_band(pixels(large), pixels(small)))


def pixels(images: Images) -> Tensor:
    """As the VAE wants them, " b c y x"."""
    return torch.stack([to_latent_range(image) for image in images])


def gradient_energy(levels: np.ndarray) -> float:
    """Squared differences between neighbours, summed."""
    return sum(float(np.square(np.diff(levels, axis=axis)).sum()) for axis in (0, 1))


def is_right(image: Image.Image, scene: Scene) -> bool:
    """Whether the detector finds the scene's coloured shapes, and no others."""
    found, wanted = (
        Counter((thing.colour, thing.shape) for thing in things)
        for things in ([found.thing for found in look_at(image)], scene.objects)
    )
    return found == wanted


def measured(
    large: Images, truth: Images, scenes: Sequence[Scene]
) -> tuple[list[float], list[float], list[bool]]:
    """PSNR, sharpness and the detector's verdict of every image."""
    pairs = [
        [np.asarray(each, np.float64) for each in pair] for pair in zip(large, truth, strict=True)
    ]
    psnr = [10 * np.log10(255**2 / np.square(found - wanted).mean()) for found, wanted in pairs]
    sharpness = [gradient_energy(found) / gradient_energy(wanted) for found, wanted in pairs]
    return psnr, sharpness, [is_right(*each) for each in zip(large, scenes, strict=True)]


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=50, help="scenes")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--sheet", type=Path, help="write the first scenes: methods, then truth")
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    scenes = [sample_scene(rng, split="heldout") for _ in range(options.limit)]
    jf = janusflow.load("mini", device="cpu")
    small = [render(scene, size=jf.image_size) for scene in scenes]
    truth = [render(scene, size=FACTOR * jf.image_size) for scene in scenes]
    print(f"{len(scenes)} held-out scenes, {jf.image_size} to {FACTOR * jf.image_size} pixels")
    print("| method | psnr | difference | sharpness | right | seconds |\n|---|---|---|---|---|---|")
    base, columns = None, []
    for method in options.methods.split():
        start = time.perf_counter()
        large = made_larger(jf, small, method)
        seconds = (time.perf_counter() - start) / len(scenes)
        psnr, sharpness, right = measured(large, truth, scenes)
        base = base or psnr
        more = mean("difference", [a - b for a, b in zip(psnr, base, strict=True)])
        low, high = more.interval
        print(
            f"| {method} | {np.mean(psnr):.2f} | {more.value:+.2f} ({low:+.2f} to {high:+.2f}) | "
            f"{np.mean(sharpness):.2f} | {100 * np.mean(right):.0f}% | {seconds:.3f} |",
            flush=True,
        )
        columns.append(large)
    if options.sheet is not None:
        write_sheet([*columns, truth], options.sheet)


def write_sheet(columns: Sequence[Images], path: Path, *, rows: int = 6) -> None:
    """The first scenes below one another, methods side by side."""
    side = columns[0][0].width
    sheet = Image.new("RGB", (side * len(columns), side * min(rows, len(columns[0]))))
    for x, column in enumerate(columns):
        for y, image in enumerate(column[:rows]):
            sheet.paste(image, (side * x, side * y))
    sheet.save(path)


if __name__ == "__main__":
    main()
