"""`janusflow bench`: the time and memory that a model takes on this machine."""

import json
from dataclasses import replace
from typing import Annotated, Literal

import typer

from janusflow.cli.options import Adapter, Device, Dtype, Json, Quantize, Steps


def command(
    model: Annotated[
        str, typer.Argument(help="mini (ships with the package), a folder, or a hub id.")
    ] = "mini",
    only: Annotated[
        Literal["load", "image", "ask"] | None, typer.Option(help="One of these; all without.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images drawn at once.")] = 1,
    images: Annotated[int, typer.Option(min=1, help="Images asked about in one question.")] = 1,
    steps: Steps = 30,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer, at most.")] = 16,
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs of a case: the first warms up, medians are of others.")
    ] = 4,
    quantize: Quantize = None,
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure loading, drawing an image, and answering a question.

    benchmarks/versus_official compares this with the authors' code (docs/speed.md).

    Examples:
      janusflow bench

      janusflow bench deepseek-ai/JanusFlow-1.3B --only image --batch 5 --json
    """
    from janusflow.inference.loading import choose_device, choose_dtype
    from janusflow.inference.speed import OurModel, SpeedSettings, measure

    settings = SpeedSettings(batch=batch, images=images, steps=steps, new_tokens=tokens)
    runs = [replace(settings, case=case) for case in ("image", "ask") if only in (None, case)]
    target = choose_device(device)
    found = {}
    for label, timing, _ in measure(
        OurModel(),
        runs,
        repeats=repeats,
        device=str(target),
        folder=model,
        dtype=str(choose_dtype(dtype, target)).removeprefix("torch."),
        quantize=quantize,
        adapter=adapter,
    ):
        found[label] = timing
        if not as_json:
            told = ", ".join(f"{name.replace('_', ' ')} {x:.4g}" for name, x in timing.items())
            typer.echo(f"{label + ':':20s} {told}")
    if as_json:
        typer.echo(json.dumps(found, indent=1))
