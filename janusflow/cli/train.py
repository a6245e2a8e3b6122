"""`janusflow train`: run a recipe file, or a folder of them in order."""

from pathlib import Path
from typing import Annotated, Optional

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="A .yaml recipe, or a folder of them.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 (typer)
        typer.Argument(help="Settings to change, as dotted.key=value."),
    ] = None,
) -> None:
    """Train by a recipe; an interrupted run goes on where it stopped.

    Every run folder keeps its settings (recipe.yaml), log (log.jsonl), checkpoints and the newest
    averaged model (model/), which every other command takes as --model. With log.samples_every it
    shows sample pictures and answers on the way (samples/), with log.to it reports to trackers.

    Examples:
      janusflow train recipes/mini

      janusflow train recipes/mini/8-stage3.yaml run=runs/mine loop.steps=500

      janusflow train recipe.yaml "log.to=[tensorboard]"
    """
    from janusflow.inference.sampling import draw_and_answer
    from janusflow.training.recipes import run_recipes

    for run in run_recipes(recipe, tuple(overrides or ()), sampler=draw_and_answer):
        typer.echo(run)
