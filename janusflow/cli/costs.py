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
    trees = [_stage_tree(stage) for stage in stages]
    total = {name: sum(tree[name] for tree in trees) for name in ("gpu_days", "hours")}
    if as_json:
        typer.echo(json.dumps({"stages": trees, **total}, ensure_ascii=False, indent=1))
        return
    for stage, tree in zip(stages, trees, strict=True):
        machine = f"{stage.config.gpus} x {stage.config.gpu}, {stage.parallelism.precision}"
        typer.echo(f"{tree.pop('run')}: {machine}")
        typer.echo("\n".join(lines_of({**tree, "config": None, "parallelism": None})))
    if len(stages) > 1:
        typer.echo(f"all {len(stages)} stages")
        typer.echo("\n".join(lines_of(total)))


def print_inference(found: "Sequence[InferenceCost]", *, as_json: bool) -> None:
    """Print what one workload takes in each dtype."""
    trees = [asdict(cost) for cost in found]
    for cost, tree in zip(found, trees, strict=True):
        tree["memory"] |= {"total": cost.total} | _fits(cost.total, cost.workload.gpu)
        tree |= _rates(cost) | {"notes": tree.pop("notes")}
    if as_json:
        typer.echo(json.dumps(trees, ensure_ascii=False, indent=1))
        return
    for cost, tree in zip(found, trees, strict=True):
        asked = cost.workload
        typer.echo(f"{cost.model}, {asked.task}, batch {asked.batch}, {asked.dtype}")
        is_last = cost is found[-1]
        hidden: dict[str, Any] = {"model": None, "workload": None}
        hidden |= {} if is_last else {"notes": None}
        typer.echo("\n".join(lines_of(tree | hidden)))


def _stage_tree(stage: "StageCost") -> dict[str, Any]:
    """A stage as data, with what is computed from it."""
    tree = asdict(stage)
    for phase, found in zip(tree["phases"], stage.phases, strict=True):
        phase["step_flops"] = found.step_flops
    for name in ("parameters", "trainable"):
        tree[name] |= {"together": sum(tree[name].values())}
    total = stage.memory.total
    tree["memory"] |= {"total": total} | _fits(total, stage.config.gpu)
    notes = tree.pop("notes")
    sums = {"flops": stage.flops, "gpu_days": stage.gpu_days, "hours": stage.hours}
    return tree | sums | {"notes": notes}


def _fits(needed: int, gpu: str) -> dict[str, str]:
    has = find_gpu(gpu).memory_gb
    return {"fits": f"{'yes' if needed <= 1e9 * has else 'NO'}, {gpu} has {has:g} GB"}


def _rates(cost: "InferenceCost") -> dict[str, float]:
    """What people compare: an image's time, or an answer's."""
    batch = cost.workload.batch
    if cost.workload.task == "generate":
        return {
            "seconds_per_image": cost.seconds / batch,
            "images_per_second": batch / cost.seconds,
        }
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
