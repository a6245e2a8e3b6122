"""A task measured at every combination of drawing settings, and one table of all of them.

Each point is a measurement like any other, with its own files: a sweep that was cut off goes on
with the items that are missing, and one with more values draws only those.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any, TypeAlias

from tqdm import tqdm

from janusflow.config.errors import ConfigError, DataError
from janusflow.config.files import replace_text
from janusflow.config.guidance import read_guidance
from janusflow.config.records import build_record
from janusflow.evaluation.core.report import as_json, save, save_json, value_text
from janusflow.evaluation.core.runner import ALONE, ProcessInfo, Report, RunFiles, run_task
from janusflow.evaluation.core.tasks import Task, ToDraw
from janusflow.inference.drawing.sampling import DrawingSettings

Axes: TypeAlias = Mapping[str, Sequence[Any]]
"""Values by name of a drawing setting."""

KNOWN = tuple(each.name for each in fields(DrawingSettings))


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of settings, measured."""

    settings: Mapping[str, Any]
    report: Report
    files: RunFiles | None = None
    """Where its own report lies."""


def read_axes(words: Sequence[str]) -> dict[str, list[Any]]:
    """Axes from words such as `guidance=1,2,3`; what their values may be, DrawingSettings knows.

    Raises:
        ConfigError: an axis is unknown, or said twice.
    """
    axes: dict[str, list[Any]] = {}
    for word in words:
        name, _, values = word.partition("=")
        if name not in KNOWN or name in axes:
            raise ConfigError(
                f"--sweep {word}: {name!r} is {'there already' if name in axes else 'no axis'}. "
                f"Write AXIS=VALUE,VALUE once for each of: {', '.join(KNOWN)}."
            )
        axes[name] = list(dict.fromkeys(map(_value, values.split(","))))
    return axes


def combinations(axes: Axes, drawing: DrawingSettings) -> list[DrawingSettings]:
    """Every combination of values; what is no axis stays as it is.

    Raises:
        ConfigError: a combination is none that can be drawn with.
    """
    combined = []
    for values in product(*axes.values()):
        tree = asdict(drawing) | dict(zip(axes, values, strict=True))
        guidance = read_guidance(str(tree.pop("guidance")))  # a number, or a schedule as text
        plain = build_record(DrawingSettings, tree, where="--sweep")
        combined.append(replace(plain, guidance=guidance))
    return combined


def run_sweep(
    task: Task,
    model: Callable[[], Any],
    *,
    axes: Axes,
    drawing: DrawingSettings,
    files: RunFiles | None = None,
    process: ProcessInfo = ALONE,
    **settings: Any,
) -> list[Point]:
    """Measure a model at every combination, going on from what is already there.

    Args:
        task: what to measure.
        model: loads what draws and answers, once all else is known to fit.
        axes: what to vary.
        drawing: what is no axis.
        files: of the sweep; points lie in a folder beside it. None keeps nothing.
        process: shares every point's items.
        settings: what else `run_task` takes.

    Raises:
        ConfigError: the task draws nothing, or a combination is none that can be drawn with.
    """
    if not any(isinstance(item, ToDraw) for item in task.items):
        raise ConfigError(
            f"--sweep {', '.join(axes)}: {task.name} draws nothing, so that all points would be "
            "the same. Sweep a task that draws."
        )
    combined = combinations(axes, drawing)
    loaded = model()
    points = []
    for each in tqdm(combined, desc="sweep", disable=not process.is_main_process):
        values = {axis: getattr(each, axis) for axis in axes}
        own = None if files is None else _point_files(files, values)
        report = run_task(task, loaded, drawing=each, files=own, process=process, **settings)
        if own is not None and process.is_main_process:
            save(report, own)
        points.append(Point(settings=values, report=report, files=own))
    return points


def save_sweep(points: Sequence[Point], files: RunFiles) -> None:
    """Write all scores as JSON, and as CSV for a plot: a row for each point."""
    save_json(sweep_as_json(points), files)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [score.name for score in points[0].report.scores]
    writer.writerow([*points[0].settings, *names])
    for point in points:
        writer.writerow([*point.settings.values(), *(each.value for each in point.report.scores)])
    replace_text(files.report.with_suffix(".csv"), stream.getvalue())


def sweep_as_json(points: Sequence[Point]) -> dict[str, Any]:
    """All of a sweep; items are in the points' own reports."""
    trees = [as_json(point.report) for point in points]
    axes = points[0].settings
    return {
        **{name: trees[0][name] for name in ("task", "model", "protocol", "versions")},
        "axes": {axis: list(dict.fromkeys(p.settings[axis] for p in points)) for axis in axes},
        "points": [
            {
                "settings": dict(point.settings),
                "report": None if point.files is None else _beside_sweep(point.files),
                "scores": tree["scores"],
            }
            for point, tree in zip(points, trees, strict=True)
        ],
    }


def table(points: Sequence[Point]) -> str:
    """A line for each axis and each score, a column for each point."""
    lines = [
        (axis, [setting_text(point.settings[axis]) for point in points])
        for axis in points[0].settings
    ]
    for scores in zip(*(point.report.scores for point in points), strict=True):
        lines.append((scores[0].name, [value_text(score).strip() for score in scores]))
    width = max(len(cell) for _, cells in lines for cell in cells)
    return "\n".join(
        f"{name:28s} {'  '.join(cell.rjust(width) for cell in cells)}" for name, cells in lines
    )


def setting_text(value: Any) -> str:
    """A setting as a person writes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _beside_sweep(files: RunFiles) -> str:
    """A point's report, as its sweep's report names it."""
    return f"{files.report.parent.name}/{files.report.name}"


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def _point_files(files: RunFiles, values: Mapping[str, Any]) -> RunFiles:
    folder = files.report.with_suffix(".sweep")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}): name another.") from None
    words = ",".join(f"{axis}={setting_text(value)}" for axis, value in values.items())
    return RunFiles(report=folder / f"{words}.json")
