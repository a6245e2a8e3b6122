"""Benchmarks end to end on tiny files in their own format, with a model that knows the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from janusflow.evaluation.core.registry import TaskOptions, open_task
from janusflow.evaluation.core.runner import Report, RunFiles, run_task
from janusflow.inference.drawing.sampling import DrawingSettings


@dataclass
class Scripted:
    """Answers by a part of the question, and draws by a function of prompt and seed."""

    answers: Mapping[str, str] = field(default_factory=dict)
    draw: Callable[[str, int], Image.Image] = lambda *_: Image.new("RGB", (8, 8))
    system_prompt: str = ""
    asked: list[str] = field(default_factory=list)
    prompted: list[tuple[str, int]] = field(default_factory=list)

    def generate(self, prompt: Sequence[str], *, seed: int, **_: Any) -> list[Image.Image]:
        self.prompted += [(text, seed + i) for i, text in enumerate(prompt)]
        return [self.draw(text, seed + i) for i, text in enumerate(prompt)]

    def answer(self, conversations: Sequence[Sequence[Any]], **_: Any) -> list[str]:
        for system, user in conversations:
            assert system == {"role": "system", "content": self.system_prompt}
            self.asked.append(user["content"][-1]["text"])
        questions = self.asked[-len(conversations) :]
        return [next(a for q, a in self.answers.items() if q in text) for text in questions]


def measure(
    task: str,
    model: Any,
    *,
    limit: int | None = None,
    data: Path | None = None,
    judge: str | None = None,
    files: RunFiles | None = None,
) -> Report:
    """Run a benchmark; nothing is kept unless there are files for it."""
    options = TaskOptions(
        model=lambda: model,
        limit=limit,
        data=data,
        judge=judge,
    )
    return run_task(
        open_task(task, options), model, name="m", drawing=DrawingSettings(), files=files
    )


def values(report: Report) -> dict[str, float]:
    """Scores by name."""
    return {score.name: score.value for score in report.scores}
