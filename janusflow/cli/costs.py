"""How costs are printed: dry runs of training, and estimates of inference."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from janusflow.inference.estimate import InferenceCost
    from janusflow.training.estimate.dry_run import StageCost
    from janusflow.training.estimate.simulation import Memory, Phase

LABEL_WIDTH = 34
MILLISECONDS = 1e3
"""Of a second."""


def print_stages(stages: "Sequence[StageCost]", *, as_json: bool) -> None:
    """Print stages one after another, then their sum."""
    total = {
        "gpu_days": sum(stage.gpu_days for stage in stages),
        "hours": sum(stage.hours for stage in stages),
    }
    if as_json:
        found = {"stages": [_stage_tree(stage) for stage in stages], **total}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    for stage in stages:
        _print_stage(stage)
    if len(stages) > 1:
        typer.echo(f"all {len(stages)} stages")
        _lines({"expected": f"{_days(total['gpu_days'])}, {total['hours']:,.1f} h"})


def _stage_tree(stage: "StageCost") -> dict[str, Any]:
    """A stage as data, with what is computed from it."""
    tree = asdict(stage)
    for phase, found in zip(tree["phases"], stage.phases, strict=True):
        phase["step_flops"] = found.step_flops
    tree["memory"]["total"] = stage.memory.total
    return tree | {"flops": stage.flops, "gpu_days": stage.gpu_days, "hours": stage.hours}


def _print_stage(stage: "StageCost") -> None:
    config = stage.config
    typer.echo(f"{stage.run}: {config.gpus} x {config.gpu}, {config.precision}")
    typer.echo(f"  {'parameters':{LABEL_WIDTH}s}{'in all':>16s}{'trainable':>16s}")
    everything = [*stage.parts.items()]
    for name, part in everything:
        typer.echo(f"    {_label(name)}{part.parameters:16,d}{part.trainable:16,d}")
    sums = [sum(getattr(p, f) for _, p in everything) for f in ("parameters", "trainable")]
    typer.echo(f"    {_label('together')}{sums[0]:16,d}{sums[1]:16,d}")
    for phase in stage.phases:
        _print_phase(phase)
    _print_memory(stage.memory, stage)
    typer.echo(f"  {'expected':{LABEL_WIDTH}s}  {_days(stage.gpu_days)}, {stage.hours:,.1f} h")
    typer.echo("  assumed")
    for note in stage.notes:
        typer.echo(f"    - {note}")
    typer.echo("")


def _print_phase(phase: "Phase") -> None:
    size = phase.size
    typer.echo(f"  a step, {phase.steps:,d} times")
    rows: dict[str, str] = {
        kind: f"{size.samples[kind]:,d} samples, {size.tokens[kind]:,d} tokens"
        for kind in size.samples
        if size.samples[kind]
    }
    rows["rows"] = f"{size.rows:,d}, {size.padding:.1%} padding"
    rows["learnt tokens"] = f"{size.learnt_tokens:,d}"
    rows["images"] = f"{size.understanding_images:,d} seen, {size.generation_images:,d} drawn"
    rows |= {f"forward {name}": _flops(flops) for name, flops in phase.forward_flops.items()}
    rows["forward"] = _flops(sum(phase.forward_flops.values()))
    rows["backward"] = _flops(phase.backward_flops)
    rows["together"] = _flops(phase.step_flops)
    _lines(rows)


def _print_memory(memory: "Memory", stage: "StageCost") -> None:
    from janusflow.config.gpus import find_gpu

    typer.echo("  memory of one GPU")
    rows = {name: _bytes(value) for name, value in asdict(memory).items()}
    switched = "without" if stage.config.recompute else "with"
    otherwise = rows.pop("activations_otherwise")
    rows["activations"] += f" ({otherwise.strip()} {switched} recomputation)"
    has = 1e9 * find_gpu(stage.config.gpu).memory_gb
    rows["together"] = (
        f"{_bytes(memory.total)} of {_bytes(has).strip()}: {_fits(memory.total, has)}"
    )
    _lines(rows)


def _lines(rows: Mapping[str, str]) -> None:
    for name, value in rows.items():
        typer.echo(f"    {_label(name)}{value}")


def _label(name: str) -> str:
    return f"{name.replace('_', ' '):{LABEL_WIDTH - 2}s}"


def _flops(flops: int) -> str:
    return f"{flops / 1e12:10,.3f} TFLOP"


def _bytes(number: float | int) -> str:
    return f"{number / 1e9:10,.3f} GB"


def _days(days: float) -> str:
    return f"{days:,.2f} GPU-days"


def print_inference(found: "Sequence[InferenceCost]", *, as_json: bool) -> None:
    """Print what one workload takes in each dtype."""
    if as_json:
        trees = [asdict(cost) | {"memory": cost.memory, **_rates(cost)} for cost in found]
        typer.echo(json.dumps(trees, ensure_ascii=False, indent=1))
        return
    for cost in found:
        _print_inference(cost)
    typer.echo("  assumed")
    for note in found[0].notes:
        typer.echo(f"    - {note}")


def _print_inference(cost: "InferenceCost") -> None:
    from janusflow.config.gpus import find_gpu

    workload = cost.workload
    typer.echo(f"{cost.model}, {workload.task}, batch {workload.batch}, {workload.dtype}")
    has = 1e9 * find_gpu(workload.gpu).memory_gb
    sizes = {"weights": cost.weights, "cache": cost.cache, "activations": cost.activations}
    rows = {name: _bytes(number) for name, number in sizes.items()}
    rows["memory"] = f"{_bytes(cost.memory)} of {_bytes(has).strip()}: {_fits(cost.memory, has)}"
    for name, work in cost.work.items():
        times = f", {work.times} times" if work.times > 1 else ""
        rows[name] = f"{_flops(work.flops)}, at least {MILLISECONDS * work.seconds:,.3f} ms{times}"
    _lines(rows)
    labels = {
        "seconds_per_image": "at least, s an image",
        "images_per_second": "at most, images/s",
        "seconds_to_first_token": "at least, s to the first token",
        "tokens_per_second": "at most, tokens/s",
    }
    _lines({labels[name]: f"{value:10,.4g}" for name, value in _rates(cost).items()})


def _rates(cost: "InferenceCost") -> dict[str, float]:
    """What people compare: an image's time, or an answer's."""
    batch = cost.workload.batch
    if cost.workload.task == "generate":
        each = cost.seconds / batch
        return {"seconds_per_image": each, "images_per_second": 1 / each}
    first, rest = cost.work.values()
    return {
        "seconds_to_first_token": first.seconds,
        "tokens_per_second": batch / rest.seconds,
    }


def _fits(needed: int, has: float) -> str:
    return "fits" if needed <= has else "DOES NOT FIT"
