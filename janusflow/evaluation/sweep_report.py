"""A finished sweep as a table to read, as JSON, and as a page with a small plot of each score."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from janusflow.config.files import replace_text
from janusflow.evaluation.report import score_as_json, shown
from janusflow.evaluation.runner import RunFiles
from janusflow.evaluation.scores import Measurement
from janusflow.evaluation.sweep import Point, Sweep, value_text
from janusflow.processing.pages import read_style

TEMPLATE = Path(__file__).with_name("sweep.html")
WIDTH, HEIGHT, MARGIN = 280, 170, 38
COLOURS = ("#b4432f", "#2f6fb4", "#2d7a4b", "#8a5fb0", "#b08a2f", "#4a9a9a")


def save_sweep(sweep: Sweep, files: RunFiles) -> None:
    """Write the table as JSON and as a page."""
    text = json.dumps(as_json(sweep), ensure_ascii=False, indent=1)
    replace_text(files.report, f"{text}\n")
    replace_text(files.page, build_page(sweep))


def as_json(sweep: Sweep) -> dict[str, Any]:
    """All of a sweep; items are in the points' own reports."""
    return {
        "task": sweep.task,
        "model": sweep.model,
        "protocol": sweep.protocol,
        "versions": dict(sweep.versions),
        "axes": {name: list(values) for name, values in sweep.axes.items()},
        "points": [
            {
                "settings": dict(point.settings),
                "report": None if point.report is None else point.report.as_posix(),
                "scores": [score_as_json(score) for score in point.scores],
            }
            for point in sweep.points
        ],
    }


def table(sweep: Sweep) -> str:
    """A line for each axis and each score, a column for each point."""
    lines = [
        (axis, [value_text(point.settings[axis]) for point in sweep.points]) for axis in sweep.axes
    ]
    lines += [
        (scores[0].name, [shown(score).strip() for score in scores]) for scores in by_score(sweep)
    ]
    width = max(len(cell) for _, cells in lines for cell in cells)
    return "\n".join(
        f"{name:28s} {'  '.join(cell.rjust(width) for cell in cells)}" for name, cells in lines
    )


def by_score(sweep: Sweep) -> list[tuple[Measurement, ...]]:
    """Each score at all points."""
    return list(zip(*(point.scores for point in sweep.points), strict=True))


def build_page(sweep: Sweep) -> str:
    """Fill the template; points' pages are linked where they are kept."""
    axis = _plotted(sweep)
    labels = dict.fromkeys(_line_of(point, axis) for point in sweep.points)
    keys = ", ".join(
        f'<b style="color: {COLOURS[index % len(COLOURS)]}">{escape(label)}</b>'
        for index, label in enumerate(labels)
        if label
    )
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=read_style(),
        task=escape(sweep.task),
        model=escape(sweep.model),
        protocol=escape(sweep.protocol),
        axes="".join(
            f"<li>{escape(name)} <b>{escape(', '.join(map(value_text, values)))}</b></li>"
            for name, values in sweep.axes.items()
        ),
        table="\n".join([*_axis_rows(sweep), *map(_score_row, by_score(sweep))]),
        over=escape(axis),
        lines=f"lines are {keys}" if keys else "one line",
        plots="\n".join(_plot(sweep, axis, scores) for scores in by_score(sweep)),
        version=sweep.versions["janusflow"],
    )


def _plotted(sweep: Sweep) -> str:
    """The first axis that has a choice, or else the first."""
    return next(
        (name for name, values in sweep.axes.items() if len(values) > 1), *[*sweep.axes][:1]
    )


def _line_of(point: Point, axis: str) -> str:
    """What tells a point's line from others: its place on all axes but the plotted one."""
    others = (f"{name} {value_text(at)}" for name, at in point.settings.items() if name != axis)
    return ", ".join(others)


def _axis_rows(sweep: Sweep) -> list[str]:
    rows = [
        f"<tr><th>{escape(axis)}</th>"
        + "".join(f"<th>{escape(value_text(p.settings[axis]))}</th>" for p in sweep.points)
        + "</tr>"
        for axis in sweep.axes
    ]
    reports = [point.report for point in sweep.points if point.report is not None]
    if reports:
        links = "".join(
            f'<td><a href="{escape(report.with_suffix(".html").as_posix())}">items</a></td>'
            for report in reports
        )
        rows.append(f"<tr><th></th>{links}</tr>")
    return rows


def _score_row(scores: Sequence[Measurement]) -> str:
    cells = "".join(f"<td>{shown(score)}<small>{_interval(score)}</small></td>" for score in scores)
    return f"<tr><th>{escape(scores[0].name)}</th>{cells}</tr>"


def _interval(score: Measurement) -> str:
    if score.interval is None:
        return ""
    low, high = (_unit(score) * end for end in score.interval)
    return f"{low:.1f} to {high:.1f}"


def _unit(score: Measurement) -> int:
    return 100 if score.is_share else 1


def _plot(sweep: Sweep, axis: str, scores: Sequence[Measurement]) -> str:
    """Values over the places of one axis, which are as far apart as they are many."""
    values = sweep.axes[axis]
    ends = [end for s in scores for end in (s.value, *(s.interval or ()))]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def across(value: object) -> float:
        inside = WIDTH - 2 * MARGIN
        return MARGIN + inside * list(values).index(value) / max(len(values) - 1, 1)

    def up(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span

    lines: dict[str, list[str]] = {}
    marks = []
    for point, score in zip(sweep.points, scores, strict=True):
        line = lines.setdefault(_line_of(point, axis), [])
        colour = COLOURS[list(lines).index(_line_of(point, axis)) % len(COLOURS)]
        x, y = across(point.settings[axis]), up(score.value)
        line.append(f"{x:.1f},{y:.1f}")
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        if score.interval is not None:
            bottom, top = map(up, score.interval)
            marks.append(
                f'<path d="M{x:.1f} {bottom:.1f}V{top:.1f}" stroke="{colour}" opacity=".5"/>'
            )
    drawn = [
        f'<polyline points="{" ".join(points)}" fill="none" '
        f'stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="1.5"/>'
        for index, points in enumerate(lines.values())
    ]
    ticks = [
        f'<text x="{across(value):.1f}" y="{HEIGHT - 14}" text-anchor="middle">'
        f"{escape(value_text(value))}</text>"
        for value in values
    ]
    unit = _unit(scores[0])
    bounds = [f'<text x="2" y="{up(end) + 4:.1f}">{unit * end:.1f}</text>' for end in (low, high)]
    return (
        f'<figure><figcaption>{escape(scores[0].name)}</figcaption><svg viewBox="0 0 {WIDTH} '
        f'{HEIGHT}" role="img">{"".join([*drawn, *marks, *ticks, *bounds])}</svg></figure>'
    )
