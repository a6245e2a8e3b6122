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
        str,
        typer.Argument(
            metavar="MODEL|ADAPTER|IMAGE", help="The name of a model or adapter, or an image."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show a model's parts, sizes and token ids, what an adapter is, or how an image was drawn.

    Examples:
      janusflow inspect mini

      janusflow inspect runs/style/adapter

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
    from janusflow.interop.hub import adapter_at, find_folder, find_model, model_in
    from janusflow.interop.inspection import describe
    from janusflow.tuning.folder import read_adapter

    folder = find_folder(name)
    if model_in(folder) is None and adapter_at(folder) is not None:
        return read_adapter(folder).describe()
    return describe(find_model(name))
