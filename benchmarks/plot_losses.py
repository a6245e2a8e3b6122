"""Draw the losses of runs, one after another, from their logs.

Needs matplotlib: pip install 'janusflow[plots]'.

Run: python benchmarks/plot_losses.py runs/mini/stage1 runs/mini/stage2 runs/mini/stage3 -o out.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

LOSSES = {
    "ce_answer": "L_AR of answers, nats a token",
    "ce_text": "L_AR of plain texts",
    "flow_mse": "L_RF",
    "repa": "L_REPA",
}
WINDOW = 5
"""Log lines a point of a curve is the mean of."""


def curve(log: Path, loss: str) -> tuple[list[float], list[float]]:
    """Samples seen and the smoothed loss."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if loss in line]
    chunks = [lines[i : i + WINDOW] for i in range(0, len(lines) - WINDOW + 1, WINDOW)]
    samples = [chunk[-1]["samples"] for chunk in chunks]
    return samples, [sum(line[loss] for line in chunk) / WINDOW for chunk in chunks]


def samples_seen(log: Path) -> float:
    """Samples of a whole run."""
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["samples"]


def main() -> None:
    """Write one image with a panel for each loss that was logged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    for run in options.runs:
        if not (run / "log.jsonl").is_file():
            parser.error(f"no log.jsonl in {run}: give folders of runs that have trained.")
    losses = {
        loss: label
        for loss, label in LOSSES.items()
        if any(curve(run / "log.jsonl", loss)[0] for run in options.runs)
    }
    figure, axes = pyplot.subplots(
        1, len(losses), figsize=(4 * len(losses), 3.4), squeeze=False, layout="constrained"
    )
    for axis, (loss, label) in zip(axes[0], losses.items(), strict=True):
        start = 0.0
        for run in options.runs:
            samples, values = curve(run / "log.jsonl", loss)
            # Also without points, so that a run has the same colour and place in every panel.
            axis.plot([(start + each) / 1000 for each in samples], values, label=run.name)
            start += samples_seen(run / "log.jsonl")
        axis.set_xlabel("thousand samples")
        axis.set_title(label)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
