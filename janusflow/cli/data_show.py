"""`janusflow data show`: a page of samples as the model will get them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.data_options import (
    DataOption,
    Format,
    Images,
    Kind,
    Overrides,
    StandIn,
    Target,
    open_data,
    stand_in,
)


def command(
    target: Target,
    overrides: Overrides = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page, one .html file.")
    ] = Path("samples.html"),
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Samples to show.")] = 12,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the run; by default the recipe's.")
    ] = None,
    format_name: Format = None,
    kind: Kind = None,
    images: Images = None,
    option: DataOption = None,
    model: StandIn = None,
) -> None:
    """Show the samples a run begins with: images after padding and cropping, tokens, packing.

    Data without a recipe is shown as mini would get it; --model names another. The same option
    lets another model stand for a recipe's, if that is not at hand.

    Examples:
      janusflow data show mini/8-stage3 -o samples.html

      janusflow data show pairs.jsonl --images images --kind generation -n 4
    """
    inputs = open_data(target, overrides, format_name, kind, images, option, model)
    from janusflow.data.batches.mixture import build_samples, sources_by_kind
    from janusflow.data.inspect.show import build_page
    from janusflow.data.sources.base import BadRows
    from janusflow.data.sources.formats import open_sources

    recipe, collate = inputs.recipe, inputs.collate
    seed = recipe.loop.seed if seed is None else seed
    bad = BadRows(max_share=1.0)
    built = build_samples(
        open_sources(sources_by_kind(recipe.data), inputs.prepare),
        collate.build,
        replace(recipe.mixture, batch_size=number),
        own=range(number),
        seed=seed,
        step=0,
        bad=bad,
    )
    page = build_page(
        list(built.values()),
        collate,
        inputs.prepare,
        name=target,
        model=stand_in(target, model) or recipe.processor,
        seed=seed,
        num_bad=len(bad.found),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    for (source, row), why in bad.found.items():
        typer.echo(f"bad row {row} of {source}: {why}", err=True)
    typer.echo(output)
