"""`janusflow inspect`: what a model is made of, or how an image was drawn."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from janusflow.cli.costs import lines_of
from janusflow.cli.options import Json


def command(
    target: Annotated[
        str, typer.Argument(metavar="MODEL|IMAGE", help="A model's name, or a drawn image.")
    ],
    as_json: Json = False,
) -> None:
    """Show a model's parts, sizes and token ids, or an image's prompt, seed and settings.

    Examples:
      janusflow inspect mini

      janusflow inspect out.png --json
    """
    facts = _image(target) if Path(target).is_file() else _model(target)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    typer.echo("\n".join(lines_of(facts, indent=0)))


def _image(path: str) -> dict[str, Any]:
    from janusflow.config.errors import ImageError
    from janusflow.inference.drawing.metadata import read_record

    record = read_record(Path(path))
    if record is None:
        raise ImageError(
            f"{path}: no drawing record in this file: only PNG files drawn by janusflow have one."
        )
    return asdict(record)


def _model(name: str) -> dict[str, Any]:
    from janusflow.inference.loading import find_model
    from janusflow.interop.inspection import describe

    return describe(find_model(name))
