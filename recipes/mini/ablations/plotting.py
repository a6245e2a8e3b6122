"""Curves of all measures over steps, a row of panels for each comparison. Needs matplotlib."""

from importlib.util import find_spec
from pathlib import Path
from statistics import mean

from PIL import Image
from tabulating import (
    COMPARISONS,
    MEASURES,
    REFERENCE,
    Results,
    by_seed,
    comparable,
    measured_by,
)

from janusflow.config.errors import ConfigError


def require_matplotlib(file: Path) -> None:
    """Refuse to begin what could not be drawn in the end.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(
            f"{file} needs matplotlib: pip install 'janusflow[plots]', or say --no-plot."
        )


def plot(results: Results, file: Path) -> None:
    """Draw a thin line for every seed and a thick one for their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(each.title, arms) for each in COMPARISONS if (arms := comparable(results, each))]
    figure, axes = pyplot.subplots(
        len(rows),
        len(MEASURES),
        figsize=(3 * len(MEASURES), 2.6 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    steps = sorted(next(iter(results[REFERENCE].values())))
    for line, (title, arms) in zip(axes, rows, strict=True):
        for axis, (name, measure) in zip(line, MEASURES.items(), strict=True):
            axis.set_title(measure.told, fontsize=9)
            axis.set_xlabel("steps", fontsize=8)
            for number, arm in enumerate((REFERENCE, *arms)):
                if name not in measured_by(results, arm):
                    continue
                scale = 100 if measure.is_share else 1
                runs = [by_seed(results, arm, step, name) for step in steps]
                for seed in runs[0]:
                    values = [scale * run[seed] for run in runs]
                    axis.plot(steps, values, color=f"C{number}", alpha=0.35, linewidth=0.8)
                means = [scale * mean(run.values()) for run in runs]
                axis.plot(steps, means, color=f"C{number}", linewidth=2, label=arm)
            if not axis.lines:  # nobody was measured by this
                axis.remove()
                continue
            axis.legend(fontsize=7)
        line[0].set_ylabel(title, fontsize=9)
    figure.savefig(file, dpi=80)
    pyplot.close(figure)
    with Image.open(file) as image:  # a quarter of the bytes
        few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
