"""Speed and memory beside the authors' code: the same synthetic weights, the same minutes.

Run: python benchmarks/versus_official/compare_speed.py --official ../Janus \
         --official-python ../janus-env/bin/python [--size full] [--rounds 3] [--json FILE]

In a round each side runs in a process of its own, one after the other; every other round the
other side begins. Without --official ours is measured alone. docs/speed.md says what the authors'
environment needs. Exit code 1: outputs differ that are to be equal (float32, no --quantize).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from cases import CASES, plan_runs
from measure_side import BOOTSTRAP, OUTPUTS, TIMES
from synthetic_weights import SIZES, ensure_folder

from janusflow.inference.speed import SpeedSettings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OURS, OFFICIAL = "ours", "official"
PROMPT = "a red circle" + " red" * 56
"""About 64 tokens with its template."""
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
TOLERANCES = {"velocity": 1e-4, "image": 1.0, "ask": 0.0}
"""Largest difference of outputs that are called equal: velocities in float32 (of about 1), levels
of 255 (both sides round), token ids."""


def run_side(
    task: Mapping[str, Any], *, python: str, folder: Path
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Run one side to its end; returns times and outputs by label. Ends the program if it fails."""
    file = folder / "task.json"
    file.write_text(json.dumps(task), encoding="utf-8")
    # Without PYTHONPATH: what it names would come before the environment's own libraries.
    environment = {**os.environ, **QUIET}
    environment.pop("PYTHONPATH", None)
    command = [python, "-c", BOOTSTRAP, str(HERE), str(ROOT), str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "nothing said").splitlines()[-1]
        side = OURS if task["official"] is None else OFFICIAL
        sys.exit(f"{side} ended with code {done.returncode} ({last}): docs/speed.md has its needs.")
    times = json.loads((folder / TIMES).read_text(encoding="utf-8"))
    with np.load(folder / OUTPUTS) as arrays:
        return times, dict(arrays)


def largest_difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest absolute difference; infinite where shapes differ or values are no numbers."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(np.subtract(found, wanted, dtype=float)).max(initial=0.0))


def medians(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by label and name."""
    return {
        label: {name: median(each[label][name] for each in rounds) for name in timing}
        for label, timing in rounds[0].items()
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds; returns medians by side, and the largest differences by label."""
    sides = [OURS] if options.official is None else [OFFICIAL, OURS]
    weights = options.folder / options.size
    ensure_folder(weights, SIZES[options.size])
    settings = SpeedSettings(prompt=PROMPT, steps=options.steps, new_tokens=options.tokens)
    runs = plan_runs(options.cases, settings, batches=options.batches, images=options.images)
    task = {
        "runs": [asdict(run) for run in runs],
        "folder": str(weights.resolve()),
        "device": options.device,
        "dtype": options.dtype,
        "repeats": options.repeats,
    }
    times: dict[str, list[dict[str, dict[str, float]]]] = {side: [] for side in sides}
    differences: dict[str, float] = {}
    for number in range(options.rounds):
        outputs = {}
        for side in sides[:: -1 if number % 2 else 1]:
            print(f"round {number + 1}: {side}", file=sys.stderr)
            is_ours = side == OURS
            own = {"official": None, "quantize": options.quantize}
            theirs = {"official": str(options.official)}
            with tempfile.TemporaryDirectory() as folder:
                found, outputs[side] = run_side(
                    task | (own if is_ours else theirs),
                    python=sys.executable if is_ours else options.official_python,
                    folder=Path(folder),
                )
            times[side].append(found)
        for label, wanted in outputs.get(OFFICIAL, {}).items():
            apart = largest_difference(outputs[OURS][label], wanted)
            differences[label] = max(apart, differences.get(label, 0.0))
    return {"times": {side: medians(times[side]) for side in sides}, "differences": differences}


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines for people: a quantity of a case each, then how far outputs lie apart."""
    lines = [f"{'':42s}{OFFICIAL:>10s}{OURS:>10s}  official/ours"]
    theirs = found["times"].get(OFFICIAL, {})
    for label, timing in found["times"][OURS].items():
        for name, value in timing.items():
            official = theirs.get(label, {}).get(name)
            beside = (
                ("", "") if official is None else (f"{official:.3f}", f"{official / value:.2f}")
            )
            quantity = f"{label}: {name.replace('_', ' ')}"
            lines.append(f"{quantity:42s}{beside[0]:>10s}{value:10.3f}{beside[1]:>15s}")
    for label, apart in found["differences"].items():
        lines.append(f"{label}: outputs differ by at most {apart:.1e}")
    return lines


def is_equal(differences: Mapping[str, float]) -> bool:
    """Whether all outputs are within what is called equal."""
    return all(apart <= TOLERANCES[label.partition(",")[0]] for label, apart in differences.items())


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official", type=Path, help="checkout of the authors' code")
    parser.add_argument("--official-python", default=sys.executable, help="of its environment")
    parser.add_argument("--size", choices=list(SIZES), default="scaled", help="full: 1.3B")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1], help="drawn at once")
    parser.add_argument("--images", nargs="+", type=int, default=[1, 2], help="asked about")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="of a case within a round")
    parser.add_argument("--quantize", help="int8, of ours only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="for the weights")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args(arguments)
    if options.official is not None and not (options.official / "janus" / "janusflow").is_dir():
        parser.error(
            f"{options.official}: no janus/janusflow in it: name a checkout of "
            "github.com/deepseek-ai/Janus."
        )
    return options


def main() -> int:
    """Compare, print, and write; the status is 1 if equal outputs are not."""
    options = read_options()
    found = compare(options)
    print("\n".join(table(found)))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    is_exact = options.dtype == "float32" and options.quantize is None
    return int(is_exact and not is_equal(found["differences"]))


if __name__ == "__main__":
    sys.exit(main())
