"""What a measurement is made of: items to draw or to answer, verdicts on them, scores of verdicts.

A task is data and functions, so a benchmark is one module: it reads its official file into items,
judges an answer or an image by a pure function, and sums verdicts up. The runner does the rest for
all of them alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from PIL import Image

from janusflow.evaluation.core.scores import Measurement

NO_SYSTEM_PROMPT = ""
"""The authors' protocol for benchmarks of understanding; None is the model's own default."""


@dataclass(frozen=True, kw_only=True)
class ToDraw:
    """An image to draw."""

    id: str
    kind: str
    """Items of a kind are scored together, and `limit` counts within it."""
    prompt: str
    seed: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its judge needs, and what is kept of it in the report; JSON."""


@dataclass(frozen=True, kw_only=True)
class ToAnswer:
    """A question about an image, which is shown before it."""

    id: str
    kind: str
    image: Path | Image.Image
    question: str
    system_prompt: str | None = NO_SYSTEM_PROMPT
    max_new_tokens: int = 64
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An image that was drawn before and judged by another program: no model is needed."""

    id: str
    kind: str
    prompt: str
    image: str
    verdict: Mapping[str, Any]


Item: TypeAlias = ToDraw | ToAnswer | Judged
OneKind = TypeVar("OneKind", bound=Item)
Row: TypeAlias = Mapping[str, Any]
"""An item's id, kind, words and facts, what the model made of it, and the verdict."""
ScoreSet: TypeAlias = Callable[[Sequence[Row], Path], "list[Measurement]"]
"""From all rows and the folder that their images' names are relative to, once all are drawn."""


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
    """From an item and its answer or image to a verdict: JSON, with `right` (true, false, or a
    part of 1), and for a drawing `why`; without `right` where an image is neither by itself."""
    score: Callable[[Sequence[Row]], list[Measurement]]
    """Sums up all rows, in the order of the items."""
    score_set: ScoreSet | None = None
    """Measures the drawn images together, or makes their folder what another program reads."""
    follow_up: Callable[[ToDraw, Image.Image], ToAnswer | None] | None = None
    """Asks about an image that was just drawn, or does not (None). What comes of it, judged like
    any answer, stands in the drawing's row as `then`, so that both are kept at once or not at
    all."""

    @property
    def needs_model(self) -> bool:
        """Whether anything is left to be drawn or answered."""
        return not all(isinstance(item, Judged) for item in self.items)


def first_of_each(items: Sequence[OneKind], limit: int | None) -> list[OneKind]:
    """The first `limit` items of every kind, in their order; all of them for None."""
    seen: dict[str, int] = {}
    kept = []
    for item in items:
        seen[item.kind] = seen.get(item.kind, 0) + 1
        if limit is None or seen[item.kind] <= limit:
            kept.append(item)
    return kept
