"""What is measured: one table of cases, and what a side must be able to do to be measured.

A side is one implementation in a process of its own (worker.py): ours, or the authors'. Nothing
here needs torch, and both environments import it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

Outputs = dict[str, Any]
"""Arrays by name, to be compared between the sides."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One measurement, as it is sent to a side."""

    case: str
    folder: str
    """Of the model; `load` reads it."""
    device: str = "cpu"
    dtype: str = "float32"
    quantize: str | None = None
    """Of ours only."""
    prompt: str = ""
    """What is drawn."""
    question: str = ""
    batch: int = 1
    """Pictures to draw."""
    images: int = 1
    """Pictures to be asked about."""
    steps: int = 2
    solver: str = "euler"
    shift: float = 1.0
    guidance: float = 2.0
    new_tokens: int = 16
    seed: int = 0

    @property
    def label(self) -> str:
        """The case with what is varied in it."""
        over = CASES[self.case].over
        return f"{self.case}, {over} {getattr(self, over)}" if over else self.case


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    seconds: float
    cpu_seconds: float
    """Processor time of all threads: what other programs take meanwhile is not in it."""
    peak_bytes: int
    """Of the process; of the GPU's memory where there is one."""
    laps: list[float] = field(default_factory=list)
    """Processor seconds from the start to each token on a CPU, seconds elsewhere."""
    outputs: str | None = None
    """File of arrays."""
    threads: int = 1


@runtime_checkable
class Watch(Protocol):
    """Measures the block it surrounds, the outermost one of blocks within each other (watch.py)."""

    def __enter__(self) -> "Watch": ...

    def __exit__(self, *_: object) -> None: ...

    def lap(self) -> None:
        """Note the time of a token."""
        ...


@runtime_checkable
class Side(Protocol):
    """One implementation. Each method surrounds what is to be measured with the watch."""

    def load(self, request: Request, watch: Watch) -> Outputs:
        """Model, processor and VAE, from a folder to ready."""
        ...

    def velocity(self, request: Request, watch: Watch) -> Outputs:
        """One guided evaluation as a step of drawing makes it; a cache may have been filled."""
        ...

    def picture(self, request: Request, watch: Watch) -> Outputs:
        """From words to pixels."""
        ...

    def ask(self, request: Request, watch: Watch) -> Outputs:
        """From pictures and words to `new_tokens` tokens, the likeliest ones."""
        ...


def _first(side: Side, request: Request, watch: Watch) -> Outputs:
    with watch:
        side.picture(replace(request, batch=1, steps=1), watch)
        side.ask(replace(request, images=1, new_tokens=1), watch)
    return {}


def _ceilings(_: Side, request: Request, watch: Watch) -> Outputs:
    from janusflow.benchmark.ceilings import measure_ceilings

    return measure_ceilings(request.device, request.dtype, watch)


FEWER_EVALUATIONS = 6
"""Of Euler steps, one midpoint step of two evaluations each: docs/drawing.md has how near the
exact path ends."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a case is run, what it is run over, and what ours does otherwise in it."""

    run: Callable[[Side, Request, Watch], Outputs]
    over: str = ""
    """Field of Request that is varied."""
    ours_differs: Callable[[Request], Mapping[str, Any]] | None = None
    is_compared: bool = True


FIRST = "first"
"""A picture in one step, then a token about one, right after loading, which may put work off."""

CASES: dict[str, Case] = {
    "load": Case(run=lambda side, request, watch: side.load(request, watch), is_compared=False),
    FIRST: Case(run=_first, is_compared=False),
    "velocity": Case(run=lambda side, request, watch: side.velocity(request, watch), over="batch"),
    "picture": Case(run=lambda side, request, watch: side.picture(request, watch), over="batch"),
    "quick": Case(
        run=lambda side, request, watch: side.picture(request, watch),
        over="batch",
        ours_differs=lambda request: {
            "solver": "midpoint",
            "shift": 2.0,
            "steps": max(1, request.steps // FEWER_EVALUATIONS),
        },
        is_compared=False,
    ),
    "ask": Case(run=lambda side, request, watch: side.ask(request, watch), over="images"),
}
"""Cases people choose from. `quick` is a picture of equal quality by fewer evaluations."""

CEILINGS = "ceilings"
ALL_CASES: dict[str, Case] = {**CASES, CEILINGS: Case(run=_ceilings, is_compared=False)}
