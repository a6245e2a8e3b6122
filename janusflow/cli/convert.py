"""`janusflow convert`: a model folder in the other layout."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Layout(StrEnum):
    """Whose files are written."""

    official = "official"
    janusflow = "janusflow"


def command(
    src: Annotated[str, typer.Argument(help="mini, a folder in either layout, or a hub id.")],
    dst: Annotated[Path, typer.Argument(help="The new folder.")],
    to: Annotated[
        Layout, typer.Option(help="official: as the release; janusflow: as from_pretrained reads.")
    ] = Layout.janusflow,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write a model in the other layout; weights keep their stored dtype, bit for bit.

    Examples:
      janusflow convert JanusFlow-1.3B my-model

      janusflow convert my-model for-the-authors-code --to official
    """
    from janusflow.inference.loading import find_model
    from janusflow.interop.convert import convert

    done = convert(find_model(src), dst, to=to.value)
    if as_json:
        report = {
            "folder": str(done.folder),
            "layout": done.layout,
            "num_parameters": done.num_parameters,
            "copied": done.copied,
            "left_out": done.left_out,
        }
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{done.folder}: {done.num_parameters / 1e6:.1f} M parameters, {done.layout} layout")
    if done.left_out:
        typer.echo(f"left out, because only training uses it: {', '.join(done.left_out)}")
