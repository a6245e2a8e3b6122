"""A task of `janusflow eval`, measured at every combination of drawing settings, as one table.

Run: python benchmarks/sweep.py shapes guidance=1,2,5 steps=10,30 --output out.json [--limit 30 ...]
(torchrun shares the items out, as with `janusflow eval`).

Each combination is a measurement of its own, with its files in `out.sweep/`: a sweep that was cut
off goes on with the items that are missing, and one with more values draws only those. Axes are
fields of DrawingSettings; an axis of one value is a setting of them all. The table comes as
`out.csv` too, for a plot.
"""

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import janusflow
from janusflow.config.errors import ConfigError, JanusFlowError
from janusflow.config.files import replace_text
from janusflow.config.guidance import read_guidance
from janusflow.config.records import build_record
from janusflow.evaluation.core.registry import TASKS, TaskOptions, open_task
from janusflow.evaluation.core.report import save, value_text
from janusflow.evaluation.core.runner import ProcessInfo, Report, RunFiles, run_task
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.training.engine.distributed import (
    barrier,
    num_processes,
    process_group,
    rank,
)

AXES = tuple(each.name for each in fields(DrawingSettings))
TASK_OPTIONS = tuple(each.name for each in fields(TaskOptions) if each.name != "model")
NUMBERS, PATHS = ("limit", "seed", "variety", "resolution"), ("data", "images")


def read_axes(words: Sequence[str]) -> dict[str, list[str]]:
    """Values by name of a drawing setting, from words such as `guidance=1,2,3`.

    Raises:
        ConfigError: an axis is unknown, or said twice.
    """
    axes: dict[str, list[str]] = {}
    for word in words:
        name, _, values = word.partition("=")
        if name not in AXES or name in axes:
            raise ConfigError(
                f"{word}: {name!r} is {'there already' if name in axes else 'no axis'}. "
                f"Write AXIS=VALUE,VALUE once for each of: {', '.join(AXES)}."
            )
        axes[name] = list(dict.fromkeys(values.split(",")))
    return axes


def combinations(axes: Mapping[str, Sequence[str]]) -> list[DrawingSettings]:
    """Every combination of values; what is no axis is as `jf.generate` has it.

    Raises:
        ConfigError: a combination is none that can be drawn with.
    """
    combined = []
    for values in product(*axes.values()):
        tree = asdict(DrawingSettings()) | dict(zip(axes, map(_value, values), strict=True))
        guidance = read_guidance(str(tree.pop("guidance")))  # a number, or a schedule as text
        plain = build_record(DrawingSettings, tree, where="sweep")
        combined.append(replace(plain, guidance=guidance))
    return combined


def setting_text(value: Any) -> str:
    """A setting as a person writes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(points: Mapping[str, Report]) -> str:
    """A line for each point, a column for each score."""
    names = [score.name for score in next(iter(points.values())).scores]
    lines = [["", *names]]
    lines += [[point, *map(value_text, report.scores)] for point, report in points.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def as_csv(points: Mapping[str, Report], axes: Sequence[str]) -> str:
    """A row for each point: its settings, then its scores."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for number, report in enumerate(points.values()):
        if number == 0:
            writer.writerow([*axes, *(score.name for score in report.scores)])
        settings = [setting_text(report.settings[axis]) for axis in axes]
        writer.writerow([*settings, *(score.value for score in report.scores)])
    return stream.getvalue()


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def main(words: Sequence[str] | None = None) -> None:
    """Measure every combination, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("axes", nargs="+", metavar="AXIS=VALUE,...", help=", ".join(AXES))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--output", type=Path, required=True, metavar="NAME.json")
    for name in TASK_OPTIONS:
        kind = int if name in NUMBERS else Path if name in PATHS else str
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=kind, help="as of `janusflow eval`")
    said = parser.parse_intermixed_args(words)
    try:
        axes = read_axes(said.axes)
        combined = combinations(axes)
        folder = said.output.with_suffix(".sweep")
        folder.mkdir(parents=True, exist_ok=True)
        options = {name: value for name in TASK_OPTIONS if (value := getattr(said, name))}
        model = cache(lambda: janusflow.load(said.model))
        with process_group():
            process = ProcessInfo(rank=rank(), world_size=num_processes(), barrier=barrier)
            task = open_task(said.task, TaskOptions(model=model, **options))
            points: dict[str, Report] = {}
            for drawing in combined:
                values = {axis: setting_text(getattr(drawing, axis)) for axis in axes}
                point = ",".join(f"{axis}={value}" for axis, value in values.items())
                files = RunFiles(report=folder / f"{point}.json")
                points[point] = run_task(
                    task, model(), name=said.model, drawing=drawing, files=files, process=process
                )
                if process.is_main_process:
                    save(points[point], files)
            if process.is_main_process:
                replace_text(said.output.with_suffix(".csv"), as_csv(points, list(axes)))
                print(table(points))
    except JanusFlowError as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
