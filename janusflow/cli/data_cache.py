"""`janusflow data cache`: compute latents and features of a recipe's images once."""

from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.data_options import Overrides

MAX_SHOWN = 10
"""Bad rows that are named."""


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe whose data.cache names a folder.")],
    overrides: Overrides = None,
) -> None:
    """Compute what a stage's frozen parts make of its images, once; training then reads it.

    Latents of images to draw are kept always, the tower's features while the recipe does not
    train the tower. data.crops says how many squares of each image are learnt. What was done
    before an interruption stays; torchrun shares the images out.

    Examples:
      janusflow data cache stage2.yaml data.cache=cache data.crops=1

      torchrun --nproc-per-node 8 -m janusflow.cli.main data cache stage2.yaml
    """
    from janusflow.training.engine.distributed import is_main_process, process_group
    from janusflow.training.recipes import read_stage
    from janusflow.training.stage.caching import fill_cache

    stage = read_stage(recipe, tuple(overrides or ()))
    with process_group():
        filled = fill_cache(stage)
        for name, number in filled.num_added.items() if is_main_process() else ():
            typer.echo(f"{filled.folders[name]}: {number:,} images added")
    for line in filled.bad[:MAX_SHOWN]:
        typer.echo(line, err=True)
    if filled.bad:
        typer.echo(f"{len(filled.bad):,} rows make no sample; training will skip them.", err=True)
