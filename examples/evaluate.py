"""Measure what a model draws: ShapesEval with plans and without, with 95% intervals."""

from pathlib import Path

import janusflow
from janusflow.evaluation.core import report
from janusflow.evaluation.core.registry import TaskOptions, open_task
from janusflow.evaluation.core.runner import RunFiles, run_task
from janusflow.inference.drawing.sampling import DrawingSettings

jf = janusflow.load("mini")
# Few items, to be done in a minute; `janusflow eval shapes` takes 500 of each kind.
options = TaskOptions(model=lambda: jf, limit=4, categories="two", languages="en")

for plan in ("always", "never"):
    files = RunFiles(report=Path(f"evaluate-plan-{plan}.json"))
    found = run_task(
        open_task("shapes", options),
        jf,
        name="mini",
        drawing=DrawingSettings(steps=10, plan=plan),
        files=files,
    )
    report.save(found, files)  # scores, every item's verdict, and a page of the images
    print(f"plan={plan}: {files.page} shows the images\n{report.lines(found)}\n")
