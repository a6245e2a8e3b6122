"""One side in a process of its own: a request a line on stdin, its answer a line on stdout.

`python -c BOOTSTRAP root side [code]`. The authors' code needs libraries of other versions than
ours, so this runs in its environment too and imports torch and numpy alone; the side brings the
rest. The process ends when its stdin does.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from janusflow.benchmark.cases import ALL_CASES, Answer, Request, Side
from janusflow.benchmark.watch import Stopwatch

BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from janusflow.benchmark.worker import main; main()"
)
"""Our package is found last, so that an environment's own libraries come first."""
OURS, OFFICIAL = "ours", "official"


def serve(side: Side, requests: Iterable[str], folder: Path) -> Iterator[str]:
    """Answer every request, both as JSON; arrays go to files in the folder."""
    for number, line in enumerate(requests):
        request = Request(**json.loads(line))
        watch = Stopwatch(request.device)
        outputs = ALL_CASES[request.case].run(side, request, watch)
        path = folder / f"{type(side).__name__}-{number}.npz"
        np.savez(path, **outputs)
        answer = Answer(
            seconds=watch.seconds,
            cpu_seconds=watch.cpu_seconds,
            peak_bytes=watch.peak_bytes,
            laps=watch.laps,
            outputs=str(path),
            threads=torch.get_num_threads(),
        )
        yield json.dumps(asdict(answer))


def make_side(name: str, code: str) -> Side:
    """Import a side's libraries; `code` is the authors' checkout."""
    if name == OURS:
        from janusflow.benchmark.ours import Ours

        return Ours()
    from janusflow.benchmark.official import Official

    return Official(code)


def main() -> None:
    """Serve stdin."""
    name, code, folder = sys.argv[1:]
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for answer in serve(make_side(name, code), sys.stdin, Path(folder)):
        answers.write(f"{answer}\n")
        answers.flush()
