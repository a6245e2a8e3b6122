"""`janusflow interpolate`: images on the way from one drawing to another."""

from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.options import Adapter, Device, Dtype, Guidance, Model, Plan, Solver, Steps, Vae

GIF = ".gif"
MILLISECONDS = 120
"""Each image of an animation is shown so long."""


def command(
    prompt: Annotated[str, typer.Argument(help="What the first image shows.")],
    to_prompt: Annotated[
        str | None, typer.Argument(help="What the last one shows; the same without.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Numbered images, or one .gif that moves.")
    ] = Path("way.png"),
    frames: Annotated[int, typer.Option(min=2, help="Images, both ends included.")] = 9,
    seed: Annotated[int | None, typer.Option(help="Of the first; random without.")] = None,
    to_seed: Annotated[int | None, typer.Option(help="Of the last; the same without.")] = None,
    steps: Steps = 30,
    guidance: Guidance = 2.0,
    solver: Solver = "euler",
    plan: Plan = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Drawn side by side.")] = None,
    model: Model = "mini",
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vae: Vae = None,
) -> None:
    """Draw the way from one prompt or seed to another.

    Examples:
      janusflow interpolate "a red circle" "a blue circle" --seed 1 --frames 9 -o way.gif

      janusflow interpolate "파란 별" --seed 1 --to-seed 2 -o star.png
    """
    from janusflow.cli.generate import numbered
    from janusflow.inference.drawing.interpolation import interpolate
    from janusflow.inference.drawing.metadata import (
        check_image_path,
        save_animation,
        save_image,
    )
    from janusflow.inference.drawing.sampling import DrawingSettings
    from janusflow.inference.drawing.seeds import chosen
    from janusflow.inference.loading import load

    is_gif = output.suffix.lower() == GIF
    if not is_gif:
        check_image_path(output)
    jf = load(model, adapter=adapter, device=device, dtype=dtype, vae=vae)
    first = chosen(seed)
    images = interpolate(
        jf,
        (prompt, prompt if to_prompt is None else to_prompt),
        (first, first if to_seed is None else chosen(to_seed)),
        frames=frames,
        settings=DrawingSettings(steps=steps, guidance=guidance, solver=solver, plan=plan),
        batch_size=batch_size,
    )
    if is_gif:
        save_animation(images, output, milliseconds=MILLISECONDS)
        typer.echo(f"{output}  (from seed {first})")
        return
    for image, path in zip(images, numbered(output, frames), strict=True):
        save_image(image, path)
        typer.echo(str(path))
    typer.echo(f"(from seed {first})")
