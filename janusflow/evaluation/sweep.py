"""A task measured at every combination of drawing settings, and one table of all of them.

Each point is a measurement like any other, with its own files: a sweep that was cut off goes on
with the items that are missing, and one with more values draws only those.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from janusflow.config.errors import ConfigError, DataError
from janusflow.config.guidance import read_guidance
from janusflow.evaluation.report import save
from janusflow.evaluation.runner import ALONE, Crew, RunFiles, run_task
from janusflow.evaluation.scores import Measurement
from janusflow.evaluation.tasks import Model, Task, ToDraw
from janusflow.inference.drawing.sampling import DrawingSettings

Axes: TypeAlias = Mapping[str, Sequence[Any]]
"""Values by name of a drawing setting."""

KINDS: dict[str, Any] = {each.name: type(each.default) for each in fields(DrawingSettings)} | {
    "guidance": read_guidance
}
WANTED = {int: "whole numbers", float: "numbers", str: "names"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of settings, measured."""

    settings: Mapping[str, Any]
    scores: Sequence[Measurement]
    report: Path | None = None
    """Its own report, relative to the sweep's."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All combinations, measured."""

    task: str
    model: str
    protocol: str
    versions: Mapping[str, str]
    axes: Axes
    points: Sequence[Point]


def read_axes(words: Sequence[str]) -> dict[str, list[Any]]:
    """Axes from words such as `guidance=1,2,3`.

    Raises:
        ConfigError: an axis is unknown or said twice, or a value is none of its kind or said twice.
    """
    axes: dict[str, list[Any]] = {}
    for word in words:
        name, _, values = word.partition("=")
        if name not in KINDS:
            raise ConfigError(
                f"--sweep {word}: {name!r} is no axis. Write AXIS=VALUE,VALUE with one of: "
                f"{', '.join(KINDS)}."
            )
        if name in axes:
            raise ConfigError(f"--sweep {word}: {name} is there already. Name all its values once.")
        try:
            axes[name] = [_value(KINDS[name], value.strip()) for value in values.split(",")]
        except ValueError as error:
            raise ConfigError(
                f"--sweep {word}: {error}; wanted {WANTED[KINDS[name]]} between commas."
            ) from None
        if len(set(axes[name])) < len(axes[name]):
            raise ConfigError(f"--sweep {word}: a value is there twice. Name each once.")
    return axes


def combinations(axes: Axes, drawing: DrawingSettings) -> list[DrawingSettings]:
    """Every combination of values; what is no axis stays as it is.

    Raises:
        ConfigError: a combination is none that can be drawn with.
    """
    return [
        replace(drawing, **dict(zip(axes, values, strict=True)))
        for values in product(*axes.values())
    ]


def run_sweep(
    task: Task,
    model: Callable[[], Model],
    *,
    name: str,
    axes: Axes,
    drawing: DrawingSettings,
    batch_size: int,
    files: RunFiles | None = None,
    crew: Crew = ALONE,
) -> Sweep:
    """Measure a model at every combination, going on from what is already there.

    Args:
        task: what to measure.
        model: loads what draws and answers, once all else is known to fit.
        name: of the model.
        axes: what to vary.
        drawing: what is no axis.
        batch_size: items side by side.
        files: of the sweep; points lie in a folder beside it. None keeps nothing.
        crew: shares every point's items.

    Raises:
        ConfigError: the task draws nothing, or a combination is none that can be drawn with.
    """
    if not any(isinstance(item, ToDraw) for item in task.items):
        raise ConfigError(
            f"--sweep {', '.join(axes)}: {task.name} draws nothing, so that all points would be "
            "the same. Sweep a task that draws."
        )
    places = combinations(axes, drawing)
    loaded = model()
    points, versions = [], {}
    for settings in tqdm(places, desc="sweep", disable=crew.number > 0):
        place = {axis: getattr(settings, axis) for axis in axes}
        at = None if files is None else _point_files(files, place)
        report = run_task(
            task, loaded, name=name, drawing=settings, batch_size=batch_size, files=at, crew=crew
        )
        relative = None
        if files is not None and at is not None:
            if crew.number == 0:
                save(report, at)
            relative = at.report.relative_to(files.report.parent)
        points.append(Point(settings=place, scores=report.scores, report=relative))
        versions = report.versions
    return Sweep(
        task=task.name,
        model=name,
        protocol=task.protocol,
        versions=versions,
        axes=axes,
        points=points,
    )


def value_text(value: Any) -> str:
    """A setting as a person writes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(kind: Any, text: str) -> Any:
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(f"got {text!r}")
    return value


def _point_files(files: RunFiles, place: Mapping[str, Any]) -> RunFiles:
    folder = files.report.with_suffix(".sweep")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}): name another.") from None
    words = ",".join(f"{axis}={value_text(value)}" for axis, value in place.items())
    return RunFiles(report=folder / f"{words}.json")
