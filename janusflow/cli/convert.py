"""`janusflow convert`: a model folder, or a run's checkpoint, in either layout."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from janusflow.cli.options import Adapter, Json


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
    adapter: Adapter = None,
    as_json: Json = False,
) -> None:
    """Write a model in another layout; weights keep their stored dtype, bit for bit.

    Adapters are merged into them. A checkpoint of a run that learns an adapter becomes an adapter's
    folder.

    Examples:
      janusflow convert JanusFlow-1.3B my-model

      janusflow convert my-model for-the-authors-code --to official

      janusflow convert runs/mine so-far

      janusflow convert runs/mine/checkpoints/00010000 step-10000 --live

      janusflow convert mini mini-in-style --adapter runs/style:0.8
    """
    from janusflow.config.errors import ConfigError
    from janusflow.inference.adapters import base_of, merge_adapters, read_adapters
    from janusflow.interop.convert import convert, take_folder
    from janusflow.interop.hub import adapter_at, find_model
    from janusflow.training.stage.export import export_checkpoint, find_checkpoint

    base, own = base_of(src) if Path(src).is_dir() and not live else (src, [])
    choices = own + read_adapters(adapter)
    change = partial(merge_adapters, choices=choices) if choices else None
    checkpoint = None if own else find_checkpoint(Path(src), is_live=live)
    if checkpoint is not None:
        dst.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".janusflow-", dir=dst.parent) as folder:
            exported = Path(folder) / "model"
            export_checkpoint(checkpoint, exported, is_live=live)
            if adapter_at(exported) is not None:
                if to == "official" or adapter:
                    raise ConfigError(
                        f"{src}: an adapter's checkpoint, which has no layout and takes no other "
                        "adapter: convert it alone, then the base with --adapter."
                    )
                take_folder(exported, dst)
                typer.echo(json.dumps({"folder": str(dst)}) if as_json else f"{dst}: an adapter")
                return
            done = convert(exported, dst, to=to, change=change)
    elif live:
        raise ConfigError(f"--live with {src}: only a run and its checkpoints hold live weights.")
    else:
        done = convert(find_model(base), dst, to=to, change=change)
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str, indent=2))
        return
    typer.echo(f"{done.folder}: {done.num_parameters / 1e6:.1f} M parameters, {done.layout} layout")
    if done.left_out:
        typer.echo(f"left out, because only training uses it: {', '.join(done.left_out)}")
