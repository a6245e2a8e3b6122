"""`janusflow data check`: what is wrong with training data, row by row."""

import json
from typing import Any

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
)
from janusflow.cli.options import Json, Limit, Quiet

MAX_SHOWN = 10
"""Bad rows, cut rows and groups of duplicates that the text names; --json has all."""


def command(
    target: Target,
    overrides: Overrides = None,
    format_name: Format = None,
    kind: Kind = None,
    images: Images = None,
    option: DataOption = None,
    model: StandIn = None,
    limit: Limit = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make every row a sample as training would; tell bad, cut and double rows, images, lengths.

    Exit code 1 if a source cannot be opened or more of its rows are bad than the recipe's
    mixture.max_bad_share allows (1% if it says nothing): training might stop there.

    Data without a recipe is checked with the tokenizer and sizes of mini; --model names others.
    The same option lets another model stand for a recipe's, if that is not at hand.

    Examples:
      janusflow data check mini/8-stage3 --limit 1000

      janusflow data check pairs.jsonl --images images

      janusflow data check janusflow-1.3b/stage2 --model mini
    """
    from tqdm import tqdm

    from janusflow.training.stage.checking import check_data

    inputs = open_data(target, overrides, format_name, kind, images, option, model)
    reports = check_data(
        inputs,
        limit=limit,
        progress=lambda rows, **told: tqdm(rows, disable=quiet, leave=False, **told),
    )
    found = []
    for report in reports:
        found.append(facts := report.facts())
        if not as_json:
            typer.echo("\n".join(_lines(facts, inputs.collate.row_tokens)) + "\n")
    refused = [facts["source"] for facts in found if facts["is_refused"]]
    if as_json:
        told = {"sources": found, "notes": inputs.notes, "is_refused": bool(refused)}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
    elif refused:
        typer.echo(f"{len(refused)} of {len(found)} sources must be mended: {', '.join(refused)}")
    if refused:
        raise typer.Exit(1)


def _lines(facts: dict[str, Any], row_tokens: int) -> list[str]:
    """A source's block of text."""
    title = f"{facts['kind']}: {facts['source']}"
    if facts["not_opened"] is not None:
        return [title, f"  not opened  {facts['not_opened']}"]
    shown = "all" if facts["checked"] == facts["rows"] else f"{facts['checked']:,}"
    rows = "streamed" if facts["rows"] is None else f"{facts['rows']:,}"
    first = "the first " if facts["rows"] is None else ""
    lines = [
        title,
        f"  rows        {rows}, {first}{shown} checked: {facts['good']:,} good, "
        f"{len(facts['bad']):,} bad ({facts['bad_share']:.2%}; {facts['max_bad_share']:.2%} "
        "allowed)",
    ]
    if facts["images"]:
        least, middle, most = (
            "{} x {}".format(*facts[f"{which}_image"])
            for which in ("smallest", "median", "largest")
        )
        lines.append(
            f"  images      {facts['images']:,}, from {least} to {most} pixels, median {middle}"
        )
    if facts["tokens"]:
        lengths = ", ".join(f"{name} {length:,}" for name, length in facts["tokens"].items())
        lines.append(f"  tokens      {lengths}; a row holds {row_tokens:,}")
    if facts["cut"]:
        lines.append(f"  cut         {len(facts['cut']):,} rows: {_some(facts['cut'])}")
    if facts["repeated"]:
        groups = [" = ".join(map(str, rows[:MAX_SHOWN])) for rows in facts["repeated"]]
        lines.append(f"  duplicates  {facts['duplicates']:,} rows repeat others: {_some(groups)}")
    lines += [f"  bad row {bad['row']}: {bad['why']}" for bad in facts["bad"][:MAX_SHOWN]]
    if len(facts["bad"]) > MAX_SHOWN:
        lines.append(f"  ... and {len(facts['bad']) - MAX_SHOWN:,} more bad rows: --json lists all")
    return lines


def _some(items: list[Any]) -> str:
    more = ", ..." if len(items) > MAX_SHOWN else ""
    return ", ".join(map(str, items[:MAX_SHOWN])) + more
