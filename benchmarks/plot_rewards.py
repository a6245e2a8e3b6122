"""Draw the rewards of runs over their rounds: where what is learnt parts from its judge.

Needs matplotlib: pip install 'janusflow[plots]'.

Run: python benchmarks/plot_rewards.py runs/mini-rewards/nft runs/mini-rewards/dpo -o out.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

WINDOW = 5
"""Rounds a point of a curve is the mean of."""
REWARD = "reward."


def rounds_of(run: Path) -> list[dict]:
    """The run's rounds, in order."""
    text = (run / "rounds.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def smoothed(values: list[float]) -> list[float]:
    """Means of the last WINDOW values, of fewer at the start."""
    parts = [values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


def main() -> None:
    """Write one image with a panel for each reward, those of weight 0 too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    for run in options.runs:
        if not (run / "rounds.jsonl").is_file():
            parser.error(f"no rounds.jsonl in {run}: give runs with a preference section.")
    runs = {run: rounds_of(run) for run in options.runs}
    told = [name for rounds in runs.values() for line in rounds for name in line]
    names = [name for name in dict.fromkeys(told) if name.startswith(REWARD)]
    size = (4 * len(names), 3.4)
    figure, axes = pyplot.subplots(1, len(names), figsize=size, squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        for run, rounds in runs.items():
            values = smoothed([line[name] for line in rounds if name in line])
            axis.plot(range(len(values)), values, label=run.name)
        axis.set_xlabel("round")
        axis.set_title(name.removeprefix(REWARD).rpartition(":")[2])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
