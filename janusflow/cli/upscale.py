"""`janusflow upscale`: a larger picture of one."""

from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.options import Device, Model, Quiet, Upscale
from janusflow.config.errors import ImageError
from janusflow.config.upscaling import read_upscaling


def command(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The picture to make larger.")],
    by: Upscale = "lanczos:2",
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path(
        "large.png"
    ),
    model: Model = "mini",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Make a picture larger. How it was drawn stays with it. The model is for refine only.

    Examples:
      janusflow upscale out.png --by lanczos:2 -o large.png

      janusflow upscale photo.jpg --by realesrgan-x4plus:4 -o large.jpg
    """
    how = read_upscaling(by)
    if how is None:
        raise typer.BadParameter(f"{by} makes nothing larger.", param_hint="--by")
    from janusflow.inference.loading import choose_device, load
    from janusflow.inference.metadata import check_picture_path, read_record, save_picture
    from janusflow.inference.upscaling.upscalers import make_upscaler
    from janusflow.processing.images import open_image

    try:
        check_picture_path(output)
    except ImageError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    small = open_image(picture)
    record = read_record(picture)
    if record is not None:
        record.attach(small)
    vae = load(model, device=device).vae if how.method == "refine" else None
    upscaler = make_upscaler(by, vae=vae, device=choose_device(device), show=not quiet)
    (large,) = upscaler([small])
    save_picture(large, output)
    typer.echo(f"{output}  ({large.width}x{large.height})")
