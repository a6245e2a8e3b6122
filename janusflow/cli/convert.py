"""`janusflow convert`: a model folder, or a run's checkpoint, in either layout."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from janusflow.cli.options import Json


def command(
    src: Annotated[
        str,
        typer.Argument(help="mini, a folder in either layout, a hub id, a run, or its checkpoint."),
    ],
    dst: Annotated[Path, typer.Argument(help="The new folder.")],
    to: Annotated[
        Literal["official", "janusflow"],
        typer.Option(help="official: as the release; janusflow: as from_pretrained reads."),
    ] = "janusflow",
    live: Annotated[
        bool, typer.Option("--live", help="Of a checkpoint, its own weights, not their average.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a model in another layout; weights keep their stored dtype, bit for bit.

    Examples:
      janusflow convert JanusFlow-1.3B my-model

      janusflow convert my-model for-the-authors-code --to official

      janusflow convert runs/mine so-far

      janusflow convert runs/mine/checkpoints/00010000 step-10000 --live
    """
    from janusflow.config.errors import ConfigError
    from janusflow.inference.loading import find_model
    from janusflow.interop.convert import convert
    from janusflow.training.stage.export import export_checkpoint, find_checkpoint

    checkpoint = find_checkpoint(Path(src), is_live=live)
    if checkpoint is not None:
        dst.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".janusflow-", dir=dst.parent) as folder:
            export_checkpoint(checkpoint, Path(folder) / "model", is_live=live)
            done = convert(Path(folder) / "model", dst, to=to)
    elif live:
        raise ConfigError(f"--live with {src}: only a run and its checkpoints hold live weights.")
    else:
        done = convert(find_model(src), dst, to=to)
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str, indent=2))
        return
    typer.echo(f"{done.folder}: {done.num_parameters / 1e6:.1f} M parameters, {done.layout} layout")
    if done.left_out:
        typer.echo(f"left out, because only training uses it: {', '.join(done.left_out)}")
