"""One side in a process of its own: measured as a file says, times and outputs left in a folder.

Run by compare_speed.py: python -c BOOTSTRAP measure_side.py's folder, the repository, task file.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from cases import OurSide

from janusflow.inference.speed import SpeedSettings, measure

BOOTSTRAP = (
    "import sys; sys.path += sys.argv[1:3]; from measure_side import main; main(sys.argv[3])"
)
"""Our package is found last, so that an environment's own libraries come first."""
TIMES, OUTPUTS = "times.json", "outputs.npz"


def make_model(official: str | None) -> Any:
    """Ours, or the authors' of a checkout, whose libraries only their environment has."""
    if official is None:
        return OurSide()
    from official_side import OfficialModel

    return OfficialModel(official)


def main(task_file: str) -> None:
    """Measure, and write the results beside the task."""
    path = Path(task_file)
    task = json.loads(path.read_text(encoding="utf-8"))
    runs = [SpeedSettings(**each) for each in task.pop("runs")]
    times, outputs = {}, {}
    for label, timing, output in measure(make_model(task.pop("official")), runs, **task):
        times[label] = timing
        if output is not None:
            outputs[label] = output
    (path.parent / TIMES).write_text(json.dumps(times), encoding="utf-8")
    np.savez(path.parent / OUTPUTS, **outputs)
