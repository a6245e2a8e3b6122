"""How costs are printed: dry runs of training, and estimates of inference."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from janusflow.training.dry_run import StageCost
    from janusflow.training.simulation import Memory, Phase

LABEL_WIDTH = 34


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
    rows["pictures"] = f"{size.pictures_seen:,d} seen, {size.pictures_drawn:,d} drawn"
    rows |= {f"forward {name}": _flops(flops) for name, flops in phase.forward_flops.items()}
    rows["forward"] = _flops(sum(phase.forward_flops.values()))
    rows["backward"] = _flops(phase.backward_flops)
    rows["together"] = _flops(phase.step_flops)
    _lines(rows)


def _print_memory(memory: "Memory", stage: "StageCost") -> None:
    from janusflow.config.gpus import find_gpu

    typer.echo("  memory of one GPU")
    rows = {name: _bytes(value) for name, value in asdict(memory).items()}
    switched = "without" if stage.config.activation_checkpointing else "with"
    otherwise = rows.pop("activations_otherwise")
    rows["activations"] += f" ({otherwise.strip()} {switched} activation checkpointing)"
    has = 1e9 * find_gpu(stage.config.gpu).memory_gb
    fits = "fits" if memory.total <= has else "DOES NOT FIT"
    rows["together"] = f"{_bytes(memory.total)} of {_bytes(has).strip()}: {fits}"
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
