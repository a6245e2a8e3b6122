"""`janusflow bench`: speed and memory at the release's sizes, beside the authors' code."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from janusflow.benchmark.cases import CASES, Request
from janusflow.cli.options import Device, Dtype, Json, Quantize

if TYPE_CHECKING:
    from janusflow.benchmark.report import Report

DIFFERS = 1
"""Exit code where outputs that are to be equal are not."""


def _names(said: str) -> list[str]:
    return [name.strip() for name in said.split(",") if name.strip()]


def _numbers(said: str) -> list[int]:
    try:
        return [int(name) for name in _names(said)]
    except ValueError as error:
        raise typer.BadParameter(f"{said!r}: whole numbers are wanted, such as 1,5.") from error


def command(
    official: Annotated[
        Path | None,
        typer.Option(help="Checkout of the authors' code; without it ours is measured alone."),
    ] = None,
    official_python: Annotated[
        str, typer.Option(help="The Python of the environment in which that code runs.")
    ] = sys.executable,
    size: Annotated[
        Literal["scaled", "full"],
        typer.Option(help="full: JanusFlow-1.3B; scaled: its widths in 4 layers."),
    ] = "scaled",
    cases: Annotated[str, typer.Option(help=f"Some of {','.join(CASES)}.")] = ",".join(CASES),
    batches: Annotated[str, typer.Option(help="Pictures drawn at once, one case each.")] = "1",
    images: Annotated[str, typer.Option(help="Pictures asked about, one case each.")] = "1,2",
    steps: Annotated[int, typer.Option(min=1, help="Euler steps of a picture.")] = 6,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; medians are shown.")] = 3,
    quantize: Quantize = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    folder: Annotated[Path, typer.Option(help="Where synthetic weights are kept.")] = Path(
        "runs/bench"
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write all numbers to this .json file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure loading, drawing and answering; with --official also the authors' code, in turns.

    Exit code 1: outputs that are to be equal differ (float32, without --quantize).

    Examples:
      janusflow bench --cases load,velocity

      janusflow bench --official ../Janus --official-python ../janus-env/bin/python --repeats 5

      janusflow bench --official ../Janus --size full --quantize int8 --steps 6 -o int8.json
    """
    from janusflow.benchmark.floors import floors
    from janusflow.benchmark.report import report
    from janusflow.benchmark.running import Plan, run
    from janusflow.benchmark.weights import QUESTION, SIZES, ensure_folder
    from janusflow.inference.loading import choose_device, choose_dtype

    target = choose_device(device)
    kind = str(choose_dtype(dtype, target)).removeprefix("torch.")
    shared = Request(
        case="load",
        folder=str((folder / size).resolve()),
        device=str(target),
        dtype=kind,
        quantize=quantize,
        question=QUESTION,
        steps=steps,
        new_tokens=tokens,
    )
    plan = Plan(
        request=shared,
        cases=_names(cases),
        batches=_numbers(batches),
        images=_numbers(images),
        repeats=repeats,
        official=official,
        official_python=official_python,
        warm_up=target.type == "cuda",
    )
    _tell(f"weights of size {size} in {folder / size}")
    facts = ensure_folder(folder / size, SIZES[size])
    plan = replace(plan, request=replace(shared, prompt=facts.prompt))
    measured = run(plan, weight_bytes=facts.weight_bytes, tell=_tell)
    found = report(measured, floors(plan, facts, measured.ceilings))
    tree = json.dumps({"request": asdict(shared), **asdict(found)}, indent=1)
    if output is not None:
        output.write_text(f"{tree}\n", encoding="utf-8")
    if as_json:
        typer.echo(tree)
    else:
        _show(found, is_exact=plan.is_exact)
    if plan.is_exact and not all(each.is_equal for each in found.differences.values()):
        raise typer.Exit(DIFFERS)


def _tell(what: str) -> None:
    typer.echo(what, err=True)


def _show(found: "Report", *, is_exact: bool) -> None:
    """Print a line a quantity, then how far the outputs lie apart."""
    rates = found.ceilings
    typer.echo(
        f"{found.threads} thread(s); this machine: {rates['flops_per_second'] / 1e9:.1f} GFLOP/s, "
        f"{rates['bytes_per_second'] / 1e9:.1f} GB/s"
    )
    typer.echo(f"{'':38s} official      ours  official/ours  floor/ours")
    for row in found.rows:
        official = "" if row.official is None else f"{row.official:.3f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        share = "" if row.floor is None else f"{row.floor / row.ours:.0%}"
        name = f"{row.case}: {row.quantity}, {row.unit}"
        typer.echo(f"{name:38s} {official:>8s} {row.ours:9.3f} {ratio:>14s} {share:>11s}")
    for label, apart in found.differences.items():
        verdict = ("equal" if apart.is_equal else "DIFFERENT") if is_exact else "rounded"
        typer.echo(
            f"{label}: {apart.name} {verdict}, largest difference {apart.largest:.1e}, "
            f"relative {apart.relative:.1e}"
        )
