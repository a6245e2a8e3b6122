"""`janusflow recipes copy`: a shipped recipe as files to edit."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="As `janusflow recipes` lists it, or a folder's.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Where to; by default the first part of the name.")
    ] = None,
) -> None:
    """Copy a recipe, or a folder of them, with what they extend; nothing is written over.

    Paths inside of recipes mean what they meant: data and runs lie where the training is started.

    Examples:
      janusflow recipes copy finetune

      janusflow recipes copy mini/8-stage3 my-recipes
    """
    from janusflow.training.shipped import copy_recipe

    for path in copy_recipe(name, folder):
        typer.echo(path)
