"""`janusflow upscale`: larger images of some."""

import json
from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.generate import numbered
from janusflow.cli.options import Device, Json, Model, Quiet, Upscale
from janusflow.config.errors import ImageError
from janusflow.config.upscaling import read_upscaling


def command(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="What to make larger.")],
    by: Upscale = "lanczos:2",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; several are numbered.")
    ] = Path("large.png"),
    model: Model = "mini",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make images larger. How they were drawn stays with them. The model is for refine only.

    Each is written as soon as it is done.

    Examples:
      janusflow upscale out.png --by lanczos:2 -o large.png

      janusflow upscale shape-1.png shape-2.png --by refine:2 -o large/shape.png

      janusflow upscale photo.jpg --by realesrgan-x4plus:4 -o large.jpg
    """
    how = read_upscaling(by)
    if how is None:
        raise typer.BadParameter(f"{by} makes nothing larger.", param_hint="--by")
    from janusflow.inference.drawing.metadata import check_image_path, read_record, save_image
    from janusflow.inference.loading import choose_device, load
    from janusflow.inference.upscaling.upscalers import make_upscaler
    from janusflow.processing.images import open_image

    try:
        check_image_path(output)
    except ImageError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    smalls = [open_image(image) for image in images]
    vae = load(model, device=device).vae if how.method == "refine" else None
    upscaler = make_upscaler(by, vae=vae, device=choose_device(device), show=not quiet)
    written = []
    paths = numbered(output, len(images))
    for image, small, path in zip(images, smalls, paths, strict=True):
        record = read_record(image)
        (large,) = upscaler([small if record is None else record.attach(small)])
        save_image(large, path)
        written.append({"path": str(path), "width": large.width, "height": large.height})
        if not as_json:
            typer.echo(f"{path}  ({large.width}x{large.height})")
    if as_json:
        typer.echo(json.dumps({"images": written}, ensure_ascii=False, indent=1))
