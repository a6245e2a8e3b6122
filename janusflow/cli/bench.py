"""`janusflow bench`: the time and memory that a model takes on this machine."""

import json
from typing import Annotated

import typer

from janusflow.cli.options import Device, Dtype, Json, Quantize, Steps

CASES = "load,velocity,image,ask"


def _numbers(said: str) -> list[int]:
    """Read e.g. `1,5`."""
    names = [name.strip() for name in said.split(",")]
    if not all(name.isdecimal() and int(name) for name in names):
        raise typer.BadParameter(f"{said!r}: numbers from 1 on are wanted, such as 1,5.")
    return [int(name) for name in names]


def command(
    model: Annotated[
        str, typer.Argument(help="mini (ships with the package), a folder, or a hub id.")
    ] = "mini",
    cases: Annotated[str, typer.Option(help=f"Some of {CASES}.")] = CASES,
    batches: Annotated[str, typer.Option(help="Images drawn at once, one case each.")] = "1",
    images: Annotated[str, typer.Option(help="Images asked about, one case each.")] = "1",
    steps: Steps = 30,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer, at most.")] = 16,
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs of a case: the first warms up, medians are of others.")
    ] = 4,
    quantize: Quantize = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure loading, one velocity, drawing an image, and answering a question.

    benchmarks/versus_official compares the same with the authors' code (docs/speed.md).

    Examples:
      janusflow bench

      janusflow bench deepseek-ai/JanusFlow-1.3B --cases load,image --batches 1,5 --json
    """
    from janusflow.inference.loading import choose_device, choose_dtype
    from janusflow.inference.speed import OurModel, SpeedSettings, measure, plan_runs

    settings = SpeedSettings(steps=steps, new_tokens=tokens)
    runs = plan_runs(
        [case.strip() for case in cases.split(",")],
        settings,
        batches=_numbers(batches),
        images=_numbers(images),
    )
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
    ):
        found[label] = timing
        if not as_json:
            told = ", ".join(f"{name.replace('_', ' ')} {x:.4g}" for name, x in timing.items())
            typer.echo(f"{label + ':':20s} {told}")
    if as_json:
        typer.echo(json.dumps(found, indent=1))
