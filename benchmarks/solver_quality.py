"""What an image costs and what it is worth: solvers, grids, guidance over time, foretold steps.

Run: python benchmarks/solver_quality.py [--limit 50] [--sweep "steps=10,20 grid=cosine"] [--json F]

Every point draws the same held-out prompts from the same noise, so that points are compared image
by image. Columns:

passes      of the network an image, both branches of guidance counted
right       share of images in which the detector finds what was asked for
difference  of that share to the first point's (the defaults), paired, with its 95% interval
pixels      mean distance, of 255, from the end of the exact path at guidance 2; not an error where
            guidance is meant to differ
seconds     an image, on this machine in this run
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sweep import combinations, read_axes, setting_text
from torch import Tensor

import janusflow
from janusflow.evaluation.core.runner import run_task
from janusflow.evaluation.core.scores import mean
from janusflow.evaluation.core.tasks import Row, Task, ToDraw
from janusflow.evaluation.shapes.prompts import Category, ShapePrompt, shape_prompts
from janusflow.evaluation.shapes.task import drawings
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

DEFAULTS = DrawingSettings()
EXACT = DrawingSettings(solver="rk4", steps=25, shift=2.0)
CATEGORIES = "single,two,counting,position"
SEED = 2024
PLAN = (
    "steps=30,20,10 shift=1,2",
    "steps=30,20,10 grid=cosine",
    "solver=midpoint,heun steps=15,10,5 shift=1,2",
    "solver=rk4 steps=5 shift=1,2",
    "steps=30 guidance=2@0-0.3,2@0-0.6,2@0.1-1,3@0-0.3,3..1",
    "steps=30 guidance=2,5 guidance_rescale=0.7",
    "steps=30,20 shift=1,2 reuse=0.02,0.05,0.1,0.2",
)
"""Sweeps, with evaluations per path at 10, 20 and 30 where whole steps allow."""


class Passes:
    """Counts the rows that the network's velocity is evaluated for."""

    def __init__(self, jf: JanusFlow) -> None:
        self.rows = 0
        self.velocity = jf.model.velocity
        jf.model.velocity = self.count

    def count(self, x_t: Tensor, *others: Any) -> Tensor:
        """Evaluate and count."""
        self.rows += len(x_t)
        return self.velocity(x_t, *others)


class Drawings:
    """The images that every point draws, and where their exact paths end."""

    def __init__(self, jf: JanusFlow, *, categories: Sequence[Category], limit: int) -> None:
        self.jf, self.passes = jf, Passes(jf)
        self.prompts: dict[Category, list[ShapePrompt]] = {
            category: shape_prompts(category, limit, seed=SEED) for category in categories
        }
        self.items = drawings(self.prompts, ["en"], seed=SEED)
        self.exact: dict[str, np.ndarray] = {}
        self.rows(EXACT, batch_size=50)

    def rows(self, settings: DrawingSettings, *, batch_size: int) -> Sequence[Row]:
        """Draw all of them, and judge each."""
        task = Task(
            name="solver quality",
            protocol="ShapesEval's drawings in English.",
            settings={},
            items=self.items,
            judge=self.judge,
            score=lambda rows: [mean("right", [float(row["right"]) for row in rows])],
        )
        report = run_task(task, self.jf, name=self.jf.name, drawing=settings, batch_size=batch_size)
        return report.rows

    def judge(self, item: ToDraw, image: Image.Image) -> dict[str, Any]:
        """The detector's verdict, and the distance from the exact image, which comes first."""
        pixels = np.asarray(image, dtype=np.float64)
        exact = self.exact.setdefault(item.id, pixels)
        prompt = self.prompts[item.facts["category"]][item.facts["index"]]
        return {"right": prompt.judge(image)["right"], "pixels": abs(pixels - exact).mean()}


def measured(
    drawn: Drawings, settings: DrawingSettings, *, batch_size: int, base: Sequence[Row]
) -> tuple[dict[str, Any], Sequence[Row]]:
    """One point, and its rows."""
    drawn.passes.rows, start = 0, time.perf_counter()
    rows = drawn.rows(settings, batch_size=batch_size)
    seconds = time.perf_counter() - start
    pairs = zip(rows, base or rows, strict=True)
    difference = mean(
        "difference", [float(row["right"]) - before["right"] for row, before in pairs]
    )
    point = {
        "settings": asdict(settings),
        "changed": changed(settings),
        "passes": drawn.passes.rows / len(rows),
        "right": sum(row["right"] for row in rows) / len(rows),
        "difference": difference.value,
        "interval": difference.interval,
        "pixels": float(np.mean([row["pixels"] for row in rows])),
        "seconds": seconds / len(rows),
        "verdicts": {row["id"]: row["right"] for row in rows},
    }
    return point, rows


def changed(settings: DrawingSettings) -> str:
    """What is not as by default, as words."""
    default = asdict(DEFAULTS)
    words = [f"{k}={setting_text(v)}" for k, v in asdict(settings).items() if v != default[k]]
    return " ".join(words) or "defaults"


def line(point: dict[str, Any]) -> str:
    """One row of the table."""
    low, high = point["interval"]
    difference = f"{100 * point['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return (
        f"| {point['changed']} | {point['passes']:.1f} | {100 * point['right']:.1f}% | "
        f"{difference} | {point['pixels']:.2f} | {point['seconds']:.3f} |"
    )


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=50, help="images of each category")
    parser.add_argument("--categories", default=CATEGORIES)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--sweep", action="append", help="AXIS=VALUE,... in place of the plan")
    parser.add_argument("--json", type=Path, help="write the points with all verdicts")
    options = parser.parse_args()
    swept = [
        settings
        for words in options.sweep or PLAN
        for settings in combinations(read_axes(words.split()))
    ]
    jf = janusflow.load(options.model)
    drawn = Drawings(jf, categories=options.categories.split(","), limit=options.limit)
    print(f"{len(drawn.items)} images a point, {options.categories}, English, {options.model}")
    print("| changed | passes | right | difference | pixels | seconds |\n|---|---|---|---|---|---|")
    base, points = [], []
    for settings in dict.fromkeys([DEFAULTS, *swept]):
        point, rows = measured(drawn, settings, batch_size=options.batch_size, base=base)
        base = base or rows
        points.append(point)
        print(line(point), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
