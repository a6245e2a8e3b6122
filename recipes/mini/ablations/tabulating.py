"""Measurements of all arms and seeds to tables: means, paired differences, and what shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from seeds import (
    Interval,
    paired_difference,
    sampling_variance,
    student_interval,
)

from janusflow.config.errors import DataError

Values: TypeAlias = Mapping[str, float]
Measured: TypeAlias = Mapping[int, Values]
"""One run, by step."""
Results: TypeAlias = Mapping[str, Mapping[int, Measured]]
"""By arm and seed."""

REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A claim, and the arms that differ from the reference by it."""

    title: str
    arms: tuple[str, ...]


COMPARISONS = (
    Comparison(title="REPA or not", arms=("no-repa",)),
    Comparison(title="A tower of its own to see, or latents", arms=("shared", "separate")),
    Comparison(title="Both tasks, or one alone", arms=("understanding", "generation")),
    Comparison(title="Attention among an image's tokens", arms=("bidirectional",)),
)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a measured value is told."""

    told: str
    is_share: bool
    is_better_high: bool

    def value(self, value: float, *, signed: bool = False) -> str:
        """As text: percent of a share, three digits of anything else."""
        sign = "+" if signed else ""
        return f"{100 * value:{sign}.1f}" if self.is_share else f"{value:{sign}.3f}"


MEASURES = {
    "flow": Measure(told="L_RF", is_share=False, is_better_high=False),
    "words": Measure(told="L_RF saved by the prompt", is_share=False, is_better_high=True),
    "drawn": Measure(told="drawn right, %", is_share=True, is_better_high=True),
    "drawn colours": Measure(told="colour drawn right, %", is_share=True, is_better_high=True),
    "drawn shapes": Measure(told="shape drawn right, %", is_share=True, is_better_high=True),
    "answers": Measure(told="L_AR of answers", is_share=False, is_better_high=False),
    "answered": Measure(told="answered right, %", is_share=True, is_better_high=True),
}


def require_same_seeds(results: Results) -> None:
    """Refuse arms of which some seed or step is missing.

    Raises:
        DataError: they differ.
    """
    seeds = {arm: sorted(runs) for arm, runs in results.items()}
    steps = {f"{a} {s}": sorted(run) for a, runs in results.items() for s, run in runs.items()}
    for found in (seeds, steps):
        if len({str(each) for each in found.values()}) > 1:
            told = ", ".join(f"{name}: {numbers}" for name, numbers in found.items())
            raise DataError(f"arms were not all measured alike ({told}): run what is missing.")


def last_step(results: Results) -> int:
    """The step that tables are about."""
    return max(step for runs in results.values() for run in runs.values() for step in run)


def by_seed(results: Results, arm: str, step: int, name: str) -> dict[int, float]:
    """An arm's values of one name at a step."""
    return {seed: run[step][name] for seed, run in results[arm].items() if name in run[step]}


def measured_by(results: Results, arm: str) -> list[str]:
    """Names of what an arm was measured by, in the tables' order."""
    run = next(iter(results[arm].values()))
    return [name for name in MEASURES if name in next(iter(run.values()))]


def comparable(results: Results, comparison: Comparison) -> list[str]:
    """The comparison's arms that were run, if the reference was."""
    return [arm for arm in comparison.arms if {arm, REFERENCE} <= results.keys()]


def average(results: Results, arm: str, step: int, name: str, *, items: int) -> Interval:
    """An arm's mean over seeds."""
    values = by_seed(results, arm, step, name)
    return student_interval(list(values.values())).at_least(_chance(values, name, items))


def difference(results: Results, arm: str, step: int, name: str, *, items: int) -> Interval:
    """An arm less the reference, paired by seed."""
    values, reference = (by_seed(results, each, step, name) for each in (arm, REFERENCE))
    chance = _chance(values, name, items) + _chance(reference, name, items)
    return paired_difference(values, reference).at_least(chance)


def _chance(values: Mapping[int, float], name: str, items: int) -> float:
    """The part of a mean's variance that is known without other seeds: so many scenes, no more."""
    return sampling_variance(list(values.values()), items=items) if MEASURES[name].is_share else 0.0


def tables(results: Results, *, items: int) -> str:
    """Markdown: for every comparison a table at the last step, and what it shows.

    Args:
        results: of all arms.
        items: how many scenes shares are of.

    Raises:
        DataError: a seed or a step of some arm is missing, or there is but one seed.
    """
    require_same_seeds(results)
    parts = []
    for comparison in COMPARISONS:
        arms = comparable(results, comparison)
        if arms:
            table, shown = _table(results, arms, items), _shown(results, arms, items)
            parts.append("\n".join([f"### {comparison.title}", "", *table, "", *shown]))
    return "\n\n".join(parts)


def _table(results: Results, arms: Sequence[str], items: int) -> list[str]:
    step = last_step(results)
    head = [f"step {step}", REFERENCE]
    for arm in arms:
        head += [arm, "difference, 95%"]
    lines = [_row(head), "|---" * len(head) + "|"]
    for name in measured_by(results, REFERENCE):
        measure = MEASURES[name]
        cells = [measure.told, _mean(measure, average(results, REFERENCE, step, name, items=items))]
        for arm in arms:
            if name not in measured_by(results, arm):
                cells += ["", ""]
                continue
            cells += [_mean(measure, average(results, arm, step, name, items=items))]
            cells += [_told(measure, difference(results, arm, step, name, items=items))]
        lines += [_row(cells)] if any(cells[2:]) else []
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(measure: Measure, interval: Interval) -> str:
    return f"{measure.value(interval.mean)} ± {measure.value(interval.half_width)}"


def _told(measure: Measure, interval: Interval) -> str:
    low, high = (measure.value(end, signed=True) for end in (interval.low, interval.high))
    told = f"{measure.value(interval.mean, signed=True)} ({low} to {high})"
    return f"**{told}**" if interval.excludes_zero else told


def _shown(results: Results, arms: Sequence[str], items: int) -> list[str]:
    step, lines = last_step(results), []
    for arm in arms:
        better, worse = [], []
        for name in measured_by(results, arm):
            measure, found = MEASURES[name], difference(results, arm, step, name, items=items)
            if found.excludes_zero:
                is_better = (found.mean > 0) == measure.is_better_high
                (better if is_better else worse).append(measure.told.removesuffix(", %"))
        sides = [
            f"{word} than {REFERENCE} in {', '.join(names)}"
            for word, names in (("better", better), ("worse", worse))
            if names
        ]
        lines.append(f"`{arm}`: {'; '.join(sides) or 'no effect shows'}.")
    return lines


def as_json(results: Results, settings: Mapping[str, Any], *, items: int) -> dict[str, Any]:
    """Every value, and every paired difference at every step."""
    rows = [
        {"arm": arm, "seed": seed, "step": step, **values}
        for arm, runs in results.items()
        for seed, run in runs.items()
        for step, values in run.items()
    ]
    differences = []
    for comparison in COMPARISONS:
        for arm in comparable(results, comparison):
            for step in next(iter(results[arm].values())):
                for name in measured_by(results, arm):
                    found = difference(results, arm, step, name, items=items)
                    told = {"mean": found.mean, "low": found.low, "high": found.high}
                    differences.append({"arm": arm, "step": step, "measure": name, **told})
    return {"settings": dict(settings), "values": rows, "differences": differences}
