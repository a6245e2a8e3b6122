"""`janusflow generate`: images from words."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from janusflow.cli.options import (
    BestOf,
    Device,
    Dtype,
    Grid,
    Guidance,
    GuidanceRescale,
    Json,
    Model,
    Offload,
    Plan,
    Quantize,
    Quiet,
    Reuse,
    Solver,
    Steps,
    Upscale,
    Vae,
)
from janusflow.config.errors import ImageError


def command(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT", help="What to draw.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File; several are numbered, written as drawn.")
    ] = Path("out.png"),
    num_images: Annotated[
        int, typer.Option("--num-images", "-n", min=1, help="Images of each prompt.")
    ] = 1,
    steps: Steps = 30,
    guidance: Guidance = 2.0,
    solver: Solver = "euler",
    shift: Annotated[float, typer.Option(help="Above 1: more steps near noise.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Image i has seed + i; random without.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to keep away from.")] = None,
    init_image: Annotated[Path | None, typer.Option(help="Image to start from.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Share of the path walked from it: small stays close.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White is drawn anew, black keeps --init-image.")
    ] = None,
    outpaint: Annotated[
        str | None,
        typer.Option(
            metavar="L,T,R,B", help="Draw so many pixels around --init-image; squares only."
        ),
    ] = None,
    invert: Annotated[
        str | None,
        typer.Option(help="What --init-image shows, '' to say nothing: start from its own noise."),
    ] = None,
    numerics: Annotated[
        Literal["accurate", "parity"], typer.Option(help="parity: bfloat16 steps, as released.")
    ] = "accurate",
    plan: Plan = "auto",
    best_of: BestOf = 1,
    grid: Grid = "uniform",
    guidance_rescale: GuidanceRescale = 0.0,
    reuse: Reuse = 0.0,
    upscale: Upscale = "none",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Refused unless the model was trained for it.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Drawn side by side.")] = None,
    model: Model = "mini",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    offload: Offload = None,
    vae: Vae = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw images. PNG files keep prompt, seed and settings: see `janusflow inspect`.

    Examples:
      janusflow generate "a red circle left of a blue square" -o out.png

      janusflow generate "a blue circle" --init-image out.png --invert "a red circle"

      janusflow generate "a red circle left of a star" --init-image out.png --outpaint 0,32,64,32

      janusflow generate "파란 별" "노란 하트" -n 4 --seed 1 -o images/shape.png
    """
    from janusflow.inference.drawing.latents import check_size
    from janusflow.inference.drawing.metadata import check_image_path, record_of, save_image
    from janusflow.inference.drawing.outpainting import OUTPAINTING_STRENGTH, extended, read_margins
    from janusflow.inference.loading import load

    try:
        check_image_path(output)
    except ImageError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    original, inside = init_image, mask
    if outpaint is not None:
        if init_image is None or mask is not None:
            raise typer.BadParameter("--outpaint goes with --init-image, and without --mask.")
        original, inside = extended(init_image, read_margins(outpaint))
        strength = OUTPAINTING_STRENGTH if strength is None else strength
    jf = load(model, device=device, dtype=dtype, quantize=quantize, offload=offload, vae=vae)
    if size is not None:
        check_size(size, trained=jf.image_size)
    paths = numbered(output, len(prompts) * num_images)
    start = time.perf_counter()
    images = jf.generate(
        prompts,
        negative_prompt=negative_prompt,
        num_images=num_images,
        steps=steps,
        guidance=guidance,
        solver=solver,
        seed=seed,
        init_image=original,
        strength=strength,
        mask=inside,
        invert=invert,
        shift=shift,
        numerics=numerics,
        plan=plan,
        best_of=best_of,
        grid=grid,
        guidance_rescale=guidance_rescale,
        reuse=reuse,
        upscale=upscale,
        on_image=lambda index, image: save_image(image, paths[index]),
        progress=not quiet,
        batch_size=batch_size,
    )
    seconds = time.perf_counter() - start
    written = []
    for image, path in zip(images, paths, strict=True):
        record = record_of(image)
        written.append({"path": str(path), **(asdict(record) if record else {})})
    if as_json:
        report = {"images": written, "seconds": round(seconds, 3)}
        typer.echo(json.dumps(report, ensure_ascii=False, indent=1))
        return
    for entry in written:
        planned = f", planned: {entry['plan']}" if entry["plan"] else ""
        typer.echo(f"{entry['path']}  (seed {entry['seed']}{planned})")


def numbered(output: Path, count: int) -> list[Path]:
    """The file itself for one image; out-1.png, out-2.png, ... for several."""
    if count == 1:
        return [output]
    width = len(str(count))
    return [output.with_stem(f"{output.stem}-{i + 1:0{width}d}") for i in range(count)]
