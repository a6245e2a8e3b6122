"""How costs are printed: dry runs of training, and estimates of inference."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from janusflow.config.gpus import find_gpu

if TYPE_CHECKING:
    from janusflow.inference.estimate import InferenceCost
    from janusflow.training.estimate.dry_run import StageCost

LABEL_WIDTH = 36
UNITS = {"flops": (1e12, "TFLOP"), "memory": (1e9, "GB"), "bytes": (1e9, "GB")}
"""Last word of a name -> what its values, and those below it, are divided by and called."""


def print_stages(stages: "Sequence[StageCost]", *, as_json: bool) -> None:
    """Print stages one after another, then their sum."""
    trees = []
    for stage in stages:
        tree = asdict(stage)
        for phase, found in zip(tree["phases"], stage.phases, strict=True):
            phase["step_flops"] = found.step_flops
        for name in ("parameters", "trainable"):
            tree[name] |= {"together": sum(tree[name].values())}
        tree["memory"] |= _total(stage.memory, stage.config.gpu)
        sums = {"flops": stage.flops, "gpu_days": stage.gpu_days, "hours": stage.hours}
        trees.append(tree | sums | {"notes": tree.pop("notes")})
    total = {name: sum(tree[name] for tree in trees) for name in ("gpu_days", "hours")}
    if as_json:
        _print_json({"stages": trees, **total})
        return
    for stage, tree in zip(stages, trees, strict=True):
        machine = f"{stage.config.gpus} x {stage.config.gpu}, {stage.parallelism.precision}"
        typer.echo(f"{stage.run}: {machine}; {stage.schedule}")
        _print_lines(tree, hidden=("run", "schedule", "config", "parallelism"))
    if len(stages) > 1:
        typer.echo(f"all {len(stages)} stages")
        _print_lines(total)


def print_inference(found: "Sequence[InferenceCost]", *, as_json: bool) -> None:
    """Print what one workload takes in each dtype."""
    trees = []
    for cost in found:
        tree = asdict(cost)
        tree["memory"] |= _total(cost.memory, cost.workload.gpu)
        trees.append(tree | _rates(cost) | {"notes": tree.pop("notes")})
    if as_json:
        _print_json(trees)
        return
    for cost, tree in zip(found, trees, strict=True):
        asked = cost.workload
        typer.echo(f"{cost.model}, {asked.task}, batch {asked.batch}, {asked.dtype}")
        notes = () if cost is found[-1] else ("notes",)
        _print_lines(tree, hidden=("model", "workload", *notes))


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=1))


def _print_lines(tree: Mapping[str, Any], *, hidden: Sequence[str] = ()) -> None:
    typer.echo("\n".join(lines_of({n: None if n in hidden else v for n, v in tree.items()})))


def _total(memory: Mapping[str, int], gpu: str) -> dict[str, Any]:
    total, has = sum(memory.values()), find_gpu(gpu).memory_gb
    fits = "yes" if total <= 1e9 * has else "NO"
    return {"total": total, "fits": f"{fits}, {gpu} has {has:g} GB"}


def _rates(cost: "InferenceCost") -> dict[str, float]:
    """What people compare: an image's time, or an answer's."""
    batch = cost.workload.batch
    if cost.workload.task == "generate":
        seconds = cost.seconds / batch
        return {"seconds_per_image": seconds, "images_per_second": 1 / seconds}
    first, rest = cost.work.values()
    return {"seconds_to_first_token": first.seconds, "tokens_per_second": batch / rest.seconds}


def lines_of(
    tree: Mapping[str, Any], *, unit: tuple[float, str] | None = None, indent: int = 1
) -> Iterator[str]:
    """Lines of a tree, indented by its levels; what is None is left out.

    Args:
        tree: values by name.
        unit: divisor and name of its numbers' unit; a name that UNITS knows has its own.
        indent: levels above.
    """
    for name, value in tree.items():
        own = UNITS.get(name.rpartition("_")[2], unit)
        start = f"{'  ' * indent}{name.replace('_', ' ')}"
        match value:
            case None:
                continue
            case Mapping():
                yield start
                yield from lines_of(value, unit=own, indent=indent + 1)
            case [Mapping(), *_]:
                for each in value:
                    yield start
                    yield from lines_of(each, unit=own, indent=indent + 1)
            case list():
                yield start
                yield from (f"{'  ' * indent}  - {note}" for note in value)
            case _:
                yield f"{start:{LABEL_WIDTH}s} {_value(value, own)}"


def _value(value: int | float | str, unit: tuple[float, str] | None) -> str:
    if isinstance(value, str | bool):
        return str(value)
    if unit is not None:
        return f"{value / unit[0]:14,.3f} {unit[1]}"
    return f"{value:14,d}" if isinstance(value, int) else f"{value:14,.4g}"
