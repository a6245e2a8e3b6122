"""Medians and ratios of a run, how near the floor ours is, and whether both sides agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from janusflow.benchmark.cases import CEILINGS, Answer
from janusflow.benchmark.comparing import Difference
from janusflow.benchmark.running import Measured
from janusflow.benchmark.worker import OFFICIAL, OURS

WALL, PROCESSOR, PEAK = "wall clock", "processor time", "peak memory"
FIRST_TOKEN, PER_TOKEN = "first token", "per token"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of one case: medians over the rounds."""

    case: str
    quantity: str
    unit: str
    ours: float
    official: float | None
    floor: float | None = None
    """What this machine would take at least."""

    @property
    def ratio(self) -> float | None:
        """How many times as much the authors' code takes."""
        return None if self.official is None else self.official / self.ours


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is shown."""

    rows: list[Row]
    differences: dict[str, Difference]
    ceilings: dict[str, float]
    threads: int


def quantities(answers: Sequence[Answer]) -> dict[tuple[str, str], float]:
    """Medians of what was measured, by name and unit."""
    found = {
        (WALL, "s"): median(each.seconds for each in answers),
        (PROCESSOR, "s"): median(each.cpu_seconds for each in answers),
        (PEAK, "GB"): median(each.peak_bytes for each in answers) / 1e9,
    }
    if all(len(each.laps) > 1 for each in answers):
        found[FIRST_TOKEN, "s"] = median(each.laps[0] for each in answers)
        found[PER_TOKEN, "s"] = median(
            (each.laps[-1] - each.laps[0]) / (len(each.laps) - 1) for each in answers
        )
    return found


def report(measured: Measured, floors: dict[tuple[str, str], float]) -> Report:
    """Put everything in rows.

    Args:
        measured: the run.
        floors: seconds by label and quantity, see floors.py.
    """
    rows = []
    labels = [label for label, side in measured.answers if side == OURS and label != CEILINGS]
    for label in labels:
        ours = quantities(measured.answers[label, OURS])
        official = measured.answers.get((label, OFFICIAL))
        theirs = {} if official is None else quantities(official)
        for (quantity, unit), value in ours.items():
            rows.append(
                Row(
                    case=label,
                    quantity=quantity,
                    unit=unit,
                    ours=value,
                    official=theirs.get((quantity, unit)),
                    floor=floors.get((label, quantity)),
                )
            )
    return Report(
        rows=rows,
        differences=measured.differences,
        ceilings=measured.ceilings,
        threads=max((each[0].threads for each in measured.answers.values()), default=1),
    )
