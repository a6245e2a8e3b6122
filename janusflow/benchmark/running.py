"""The run: rounds in which both sides do the same work, one right after the other.

A round starts the processes anew, so loading and what comes first are measured in each. Where
memory holds both models, the sides take turns case by case, otherwise process by process; every
other round the other side begins.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from janusflow.benchmark.cases import CASES, CEILINGS, FIRST, Answer, Request
from janusflow.benchmark.comparing import Difference, compare, read_arrays
from janusflow.benchmark.sides import Worker
from janusflow.benchmark.worker import OFFICIAL, OURS
from janusflow.config.errors import ConfigError

MEMORY = Path("/proc/meminfo")
BYTES_BOTH_NEED = 6
"""Times the bfloat16 file: twice a float32 copy, the authors' mapped file, and what runs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run."""

    request: Request
    """What all measurements have in common."""
    cases: Sequence[str] = tuple(CASES)
    batches: Sequence[int] = (1,)
    images: Sequence[int] = (1,)
    repeats: int = 3
    official: Path | None = None
    """The authors' checkout; None measures ours alone."""
    official_python: str = sys.executable
    warm_up: bool = False
    """Whether every measurement but the first is made once before it counts."""

    def __post_init__(self) -> None:
        for case in self.cases:
            if case not in CASES:
                raise ConfigError(f"case {case!r} is unknown: use some of {', '.join(CASES)}.")
        if self.repeats < 1:
            raise ConfigError(f"repeats={self.repeats}: at least 1 is needed.")
        if self.official is not None and not (self.official / "janus" / "janusflow").is_dir():
            raise ConfigError(
                f"{self.official}: no janus/janusflow in it: name a checkout of "
                "github.com/deepseek-ai/Janus."
            )

    @property
    def sides(self) -> list[str]:
        """Whose measurements are taken."""
        return [OURS] if self.official is None else [OFFICIAL, OURS]

    @property
    def requests(self) -> list[Request]:
        """All measurements of a round but loading, in order; `first` is made before any other."""
        values = {"batch": self.batches, "images": self.images}
        found = [
            replace(self.request, case=name, **{case.over: value})
            for name, case in CASES.items()
            if name in self.cases and case.over
            for value in values[case.over]
        ]
        is_first = bool(found) or FIRST in self.cases
        return [replace(self.request, case=FIRST)] * is_first + found

    @property
    def is_exact(self) -> bool:
        """Whether the sides are to give the same: bfloat16 and 8 bits round differently."""
        return self.request.dtype == "float32" and self.request.quantize is None

    def request_of(self, side: str, request: Request) -> Request:
        """What a side is asked: the same, but where a case says that ours differs."""
        if side == OFFICIAL:
            return replace(request, quantize=None)
        differs = CASES[request.case].ours_differs if request.case in CASES else None
        return replace(request, **differs(request)) if differs else request


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything that came back."""

    answers: dict[tuple[str, str], list[Answer]]
    """By the request's label and the side."""
    differences: dict[str, Difference]
    """Largest of all rounds, by label."""
    ceilings: dict[str, float]
    """Operations and bytes a second that this machine reaches."""


def run(plan: Plan, *, weight_bytes: int, tell: Callable[[str], None]) -> Measured:
    """Run the plan; `tell` is told what begins.

    Raises:
        ConfigError: a side ended early.
    """
    answers: dict[tuple[str, str], list[Answer]] = {}
    differences: dict[str, Difference] = {}
    ceilings: dict[str, float] = {}
    for number in range(plan.repeats):
        sides = plan.sides[:: -1 if number % 2 else 1]
        groups = [sides] if _fits(weight_bytes) else [[side] for side in sides]
        with tempfile.TemporaryDirectory() as name:
            found: dict[tuple[str, str], Answer] = {}
            for group in groups:
                found |= _together(plan, group, Path(name), tell, f"round {number + 1}")
            for (label, side), answer in found.items():
                answers.setdefault((label, side), []).append(answer)
            for label, difference in compare(found).items():
                differences[label] = difference.worse(differences.get(label))
            ceilings = _ceilings(found, ceilings)
    return Measured(answers=answers, differences=differences, ceilings=ceilings)


def _together(
    plan: Plan, sides: Sequence[str], scratch: Path, tell: Callable[[str], None], prefix: str
) -> dict[tuple[str, str], Answer]:
    """Start these sides, and let them take turns."""
    found: dict[tuple[str, str], Answer] = {}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(
                    side,
                    python=plan.official_python if side == OFFICIAL else sys.executable,
                    code=str(plan.official or ""),
                    scratch=scratch,
                )
            )
            for side in sides
        ]

        def turn(request: Request, *, counts: bool = True) -> None:
            for worker in workers:
                tell(f"{prefix}: {worker.name}, {request.label}")
                answer = worker.ask(plan.request_of(worker.name, request))
                if counts:
                    found[request.label, worker.name] = answer

        turn(replace(plan.request, case="load"))
        for request in plan.requests:
            if plan.warm_up and request.case != FIRST:
                turn(request, counts=False)
            turn(request)
        for worker in workers:
            if worker.name == OURS:
                found[CEILINGS, OURS] = worker.ask(replace(plan.request, case=CEILINGS))
    return found


def _fits(weight_bytes: int) -> bool:
    """Whether both models may be in memory; where it is not known, no."""
    if not MEMORY.exists():
        return False
    available = MEMORY.read_text(encoding="utf-8").partition("MemAvailable:")[2]
    return BYTES_BOTH_NEED * weight_bytes < 1024 * int(available.split()[0])


def _ceilings(found: dict[tuple[str, str], Answer], before: dict[str, float]) -> dict[str, float]:
    """The best of all rounds."""
    arrays = read_arrays(found[CEILINGS, OURS])
    return {name: max(float(array), before.get(name, 0.0)) for name, array in arrays.items()}
