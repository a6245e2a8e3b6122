"""A finished measurement as lines to read, as JSON, and as a page of the images drawn."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from janusflow.config.files import replace_text
from janusflow.evaluation.core.runner import Report, RunFiles
from janusflow.evaluation.core.scores import Measurement
from janusflow.evaluation.core.tasks import Row
from janusflow.processing.pages import read_style

TEMPLATE = Path(__file__).with_name("report.html")


def save(report: Report, files: RunFiles) -> None:
    """Write the JSON, and the page if images were drawn."""
    text = json.dumps(as_json(report), ensure_ascii=False, allow_nan=False, indent=1)
    replace_text(files.report, f"{text}\n")
    if any("prompt" in row for row in report.rows):
        replace_text(files.page, build_page(report, files))


def build_page(report: Report, files: RunFiles) -> str:
    """Fill the template; images are shown from their folder, which lies beside the page."""
    kinds: dict[str, list[Row]] = {}
    for row in report.rows:
        if "prompt" in row:
            kinds.setdefault(row["kind"], []).append(row)
    settings = "".join(
        f"<li>{escape(name)} <b>{escape(str(value))}</b></li>"
        for name, value in report.settings.items()
    )
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=read_style(),
        task=escape(report.task),
        model=escape(report.model),
        protocol=escape(report.protocol),
        settings=settings,
        scores=escape(lines(report)),
        images="\n".join(
            f'<h3>{escape(kind)}</h3>\n<div class="grid">'
            + "\n".join(_figure(row, files.images.name) for row in rows)
            + "</div>"
            for kind, rows in kinds.items()
        ),
        version=report.versions["janusflow"],
    )


def _figure(row: Row, folder: str) -> str:
    prompt = escape(row["prompt"], quote=True)
    # An image that was judged elsewhere has a path of its own.
    source = escape(Path(folder, row["image"]).as_posix(), quote=True)
    then = row.get("then")
    said = f"<br>{_verdict(then)} <q>{escape(then['answer'])}</q>" if then else ""
    return (
        f'<figure><img src="{source}" alt="{prompt}" loading="lazy"><figcaption>{prompt}<br>'
        f"{_verdict(row)} <small>{escape(row.get('why', ''))}{said}</small></figcaption></figure>"
    )


def _verdict(row: Row) -> str:
    """Nothing for an image that is neither right nor wrong by itself."""
    if "right" not in row:
        return ""
    verdict = float(row["right"])
    kind = "right" if verdict == 1 else "wrong"
    told = kind if verdict in (0, 1) else f"{100 * verdict:.0f} %"
    return f'<b class="{kind}">{told}</b>'


def lines(report: Report) -> str:
    """All scores, each as one line: percent for shares, the number itself for others."""
    return "\n".join(map(_score_line, report.scores))


def _score_line(score: Measurement) -> str:
    told = f"{score.name:28s} {value_text(score)}"
    right = "" if score.num_right is None else f"{score.num_right}/"
    if score.interval is None:
        return f"{told}  ({right}{score.num_items})"
    shown = [f"{100 * end:.1f}" if score.is_share else f"{end:.2f}" for end in score.interval]
    return f"{told}  ({right}{score.num_items}, 95% {' to '.join(shown)})"


def value_text(score: Measurement) -> str:
    """A score's value as people read it."""
    return f"{100 * score.value:5.1f} %" if score.is_share else f"{score.value:7.2f}"


def as_json(report: Report) -> dict[str, Any]:
    """All of a report."""
    return {
        "task": report.task,
        "model": report.model,
        "protocol": report.protocol,
        "versions": dict(report.versions),
        "settings": dict(report.settings),
        "scores": [
            {
                "name": score.name,
                "value": score.value,
                "right": score.num_right,
                "items": score.num_items,
                "interval": score.interval,
            }
            for score in report.scores
        ],
        "items": list(report.rows),
    }
