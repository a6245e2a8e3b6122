"""`janusflow recipes`: the training recipes that ship with the package."""

import json
from dataclasses import asdict

import typer

from janusflow.cli.options import Json


def command(as_json: Json = False) -> None:
    """List the recipes that ship with the package: name, steps, what each does.

    `janusflow train` takes such a name, or that of a folder: `mini` is all of mini's in order.

    Examples:
      janusflow recipes

      janusflow recipes copy finetune

      janusflow train finetune/full --dry-run
    """
    from janusflow.training.shipped import shipped_recipes

    found = shipped_recipes()
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=1))
        return
    width = max(len(each.name) for each in found)
    for each in found:
        steps = "" if each.steps is None else f"{each.steps:,} steps"
        typer.echo(f"{each.name:{width}s}  {steps:>13s}  {each.about}")
