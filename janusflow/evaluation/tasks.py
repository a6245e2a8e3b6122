"""What a measurement is made of: items to draw or to answer, verdicts on them, scores of verdicts.

A task is data and two functions, so a benchmark is one module: it reads its official file into
items, judges an answer or a picture by a pure function, and sums verdicts up. The runner does the
rest for all of them alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from PIL import Image

from janusflow.evaluation.scores import Measurement

NO_SYSTEM_PROMPT = ""
"""The authors' protocol for benchmarks of understanding; None is the model's own default."""


Shown: TypeAlias = Path | bytes | Image.Image


@dataclass(frozen=True, kw_only=True)
class ToDraw:
    """A picture to draw."""

    id: str
    kind: str
    """Items of a kind are scored together, and `limit` counts within it."""
    prompt: str
    seed: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its judge needs, and what is kept of it in the report; JSON."""


@dataclass(frozen=True, kw_only=True)
class ToAnswer:
    """A question about a picture."""

    id: str
    kind: str
    picture: Shown | Mapping[str, Shown]
    """Shown before the question; or several, by the marks in the question that they stand for."""
    question: str
    system_prompt: str | None = NO_SYSTEM_PROMPT
    max_new_tokens: int = 64
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture that was drawn before, to be judged without a model."""

    id: str
    kind: str
    prompt: str
    picture: Path
    facts: Mapping[str, Any] = field(default_factory=dict)


Item: TypeAlias = ToDraw | ToAnswer | Drawn
OneKind = TypeVar("OneKind", bound=Item)
Row: TypeAlias = Mapping[str, Any]
"""An item's id, kind, words and facts, what the model made of it, and the verdict."""
ScoreSet: TypeAlias = Callable[[Sequence[Row], Path], "list[Measurement]"]
"""From all rows and the folder that their pictures' names are relative to."""


@runtime_checkable
class Model(Protocol):
    """The part of `janusflow.JanusFlow` that is measured."""

    def generate(  # noqa: PLR0913 (what is measured, each by its name)
        self,
        prompt: Sequence[str],
        *,
        steps: int,
        guidance: float | str,
        solver: str,
        shift: float,
        numerics: str,
        plan: str,
        best_of: int,
        grid: str,
        guidance_rescale: float,
        reuse: float,
        seed: int,
        batch_size: int,
    ) -> list[Image.Image]:
        """Draw one picture for each prompt."""
        ...

    def answer(
        self,
        conversations: Sequence[Sequence[Any]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> list[str]:
        """Answer each conversation."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark, ready to run."""

    name: str
    protocol: str
    """How it is measured, in a sentence; it goes into the report."""
    settings: Mapping[str, Any]
    """What decides the items and the verdicts; JSON."""
    items: Sequence[Item]
    judge: Callable[[Any, Any], dict[str, Any]]
    """From an item and its answer or picture to a verdict: JSON, with `right` (true, false, or a
    part of 1), and for a drawing `why`; without it where a picture is neither by itself, or a judge
    elsewhere gives the verdicts."""
    score: Callable[[Sequence[Row]], list[Measurement]]
    """Sums up all rows, in the order of the items."""
    score_set: ScoreSet | None = None
    """Measures the drawn pictures together, after they were all drawn."""
    follow_up: Callable[[ToDraw, Image.Image], ToAnswer] | None = None
    """Asks about a picture that was just drawn. What comes of it, judged like any answer, stands in
    the drawing's row as `then`, so that both are kept at once or not at all."""
    for_judge: Callable[[Sequence[Row]], Any] | None = None
    """All answers as a judge elsewhere takes them; JSON."""

    @property
    def needs_model(self) -> bool:
        """Whether anything is left to be drawn or answered."""
        return not all(isinstance(item, Drawn) for item in self.items)


def first_of_each(items: Sequence[OneKind], limit: int | None) -> list[OneKind]:
    """The first `limit` items of every kind, in their order; all of them for None."""
    seen: dict[str, int] = {}
    kept = []
    for item in items:
        seen[item.kind] = seen.get(item.kind, 0) + 1
        if limit is None or seen[item.kind] <= limit:
            kept.append(item)
    return kept
