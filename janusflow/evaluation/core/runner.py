"""Run a task: draw and answer its items in batches, keep every verdict, then sum them up.

An image depends on its prompt, seed and settings, an answer on its question, so an interrupted
run goes on with the items that are missing and ends as it would have.
"""

import hashlib
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from janusflow.config.errors import ConfigError, DataError, NotFiniteError
from janusflow.evaluation.core.answer_log import AnswerLog
from janusflow.evaluation.core.scores import Measurement
from janusflow.evaluation.core.tasks import Item, Judged, Row, Task, ToAnswer, ToDraw
from janusflow.inference.answering.chat import question_message
from janusflow.inference.drawing.metadata import save_image
from janusflow.inference.drawing.sampling import DrawingSettings

DEFAULT_BATCH_SIZE = 50
PROBED_VALUES = 64
"""Of each weight, for a model's fingerprint."""
PACKAGES = ("janusflow", "torch", "transformers", "diffusers")


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Where a run leaves what: beside its report."""

    report: Path

    @property
    def answers(self) -> Path:
        """Rows as they come."""
        return self.report.with_suffix(".jsonl")

    @property
    def page(self) -> Path:
        """The drawn images with their verdicts."""
        return self.report.with_suffix(".html")

    @property
    def images(self) -> Path:
        """The folder of the drawn images."""
        return self.report.with_suffix(".images")

    def check(self) -> None:
        """Refuse a place where nothing can be written."""
        folder = self.report.parent
        if not folder.is_dir():
            raise ConfigError(f"--output {self.report}: no folder {folder}. Make it first.")
        if self.report.suffix != ".json":
            raise ConfigError(
                f"--output {self.report}: wanted a name that ends in .json, for answers and "
                "images lie beside it under other endings."
            )


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished measurement."""

    task: str
    model: str
    protocol: str
    settings: Mapping[str, Any]
    """What decides the rows."""
    versions: Mapping[str, str]
    scores: Sequence[Measurement]
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class ProcessInfo:
    """The processes that share a run, as one of them sees it; alone unless told otherwise."""

    rank: int = 0
    world_size: int = 1
    barrier: Callable[[], None] = lambda: None
    """Returns when every process has come there."""

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that sums up and writes the report."""
        return self.rank == 0


ALONE = ProcessInfo()


def run_task(
    task: Task,
    model: Any,
    *,
    name: str,
    drawing: DrawingSettings,
    batch_size: int = DEFAULT_BATCH_SIZE,
    files: RunFiles | None = None,
    process: ProcessInfo = ALONE,
) -> Report:
    """Measure a model, going on from the rows that are already there.

    Args:
        task: what to measure.
        model: draws and answers as a `janusflow.JanusFlow` does; None where nothing is
            left to draw or answer.
        name: of the model.
        drawing: how images are drawn.
        batch_size: items side by side; no result depends on it.
        files: where to keep rows and images; None keeps nothing.
        process: draws and answers every n-th batch. All processes end with all rows, the main one
            alone with scores: what they take is computed once.

    Raises:
        ConfigError: rows are there that other settings decided, or something needs `files` to be
            kept in (images measured together, rows of several processes).
        DataError: two items have one id.
        NotFiniteError: a verdict or a score is not finite.
    """
    _check(task, files, process)
    is_drawn = any(isinstance(item, ToDraw) for item in task.items)
    settings = dict(task.settings) | (asdict(drawing) if is_drawn else {})
    decided_by = {"task": task.name, "model": name, "weights": fingerprint(model)} | settings
    answers = None if files is None else files.answers
    log = AnswerLog(answers, decided_by, rank=process.rank)
    process.barrier()  # so that all of them miss the same items
    missing = [item for item in task.items if item.id not in log.rows]
    own = list(batches(missing, batch_size))[process.rank :: process.world_size]
    for batch in tqdm(own, desc=task.name, unit="batch", disable=not process.is_main_process):
        log.add(_rows(task, model, batch, drawing, files))
    process.barrier()
    if process.world_size > 1:
        log = AnswerLog(answers, decided_by, rank=process.rank)
    rows = [log.rows[item.id] for item in task.items]
    scores = task.score(rows) if process.is_main_process else []
    if process.is_main_process and task.score_set is not None:
        scores += task.score_set(rows, Path() if files is None else files.images)
    return Report(
        task=task.name,
        model=name,
        protocol=task.protocol,
        settings=settings,
        versions=versions(model),
        scores=scores,
        rows=rows,
    )


def _check(task: Task, files: RunFiles | None, process: ProcessInfo) -> None:
    for id, number in Counter(item.id for item in task.items).items():
        if number > 1:
            raise DataError(f"{task.name}: got {number} items {id}, wanted one. Mend the file.")
    if files is not None:
        return
    if task.score_set is not None and any(isinstance(item, ToDraw) for item in task.items):
        raise ConfigError(
            f"{task.name} got no --output: wanted a file, beside which the images are kept."
        )
    if process.world_size > 1:
        raise ConfigError(
            f"got {process.world_size} processes and no --output: name one: they share rows by "
            "its files."
        )


def _rows(
    task: Task,
    model: Any,
    batch: Sequence[Item],
    drawing: DrawingSettings,
    files: RunFiles | None,
) -> list[dict[str, Any]]:
    """What comes of a batch: words, verdicts, and questions about images just drawn."""
    if not batch:
        return []
    outputs = _outputs(model, batch, drawing)
    rows = [
        {**_words(item, out, files), **_finite(task, item, task.judge(item, out))}
        for item, out in zip(batch, outputs, strict=True)
    ]
    ask = task.follow_up
    if ask is not None and isinstance(batch[0], ToDraw):
        drawn = zip(rows, batch, outputs, strict=True)
        asked = [(row, ask(item, out)) for row, item, out in drawn if isinstance(item, ToDraw)]
        about = [(row, question) for row, question in asked if question is not None]
        answers = _rows(task, model, [question for _, question in about], drawing, files)
        for (row, _), then in zip(about, answers, strict=True):
            row["then"] = then
    return rows


def _finite(task: Task, item: Item, verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict that can be kept, for a number in it that is none would spoil a score."""
    for name, value in verdict.items():
        if isinstance(value, float) and not isfinite(value):
            raise NotFiniteError(
                f"{task.name}, {item.id}: its judge gave {name}={value}, wanted a finite number. "
                "Judge in float32, or name another judge."
            )
    return verdict


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Split items into runs that one call can take: all to draw, with seeds in a row, or none."""
    start = 0
    for end in range(1, len(items) + 1):
        is_full = end - start == size
        if end == len(items) or is_full or not _follows(items[end - 1], items[end]):
            yield items[start:end]
            start = end


def _follows(first: Item, second: Item) -> bool:
    """Whether both can go into one call."""
    if isinstance(first, ToDraw) and isinstance(second, ToDraw):
        return second.seed == first.seed + 1
    if isinstance(first, ToAnswer) and isinstance(second, ToAnswer):
        return first.max_new_tokens == second.max_new_tokens
    return isinstance(first, Judged) and isinstance(second, Judged)


def _outputs(model: Any, batch: Sequence[Item], drawing: DrawingSettings) -> list[Any]:
    if model is None:
        return [None for _ in batch]
    drawn = [item for item in batch if isinstance(item, ToDraw)]
    asked = [item for item in batch if isinstance(item, ToAnswer)]
    if drawn:
        prompts = [item.prompt for item in drawn]
        return model.generate(prompts, seed=drawn[0].seed, batch_size=len(drawn), **asdict(drawing))
    return model.answer(
        [conversation(item.image, item.question, item.system_prompt) for item in asked],
        max_new_tokens=asked[0].max_new_tokens,
    )


def conversation(image: Any, question: str, system_prompt: str | None) -> list[Any]:
    """One question about an image, as a model's `answer` takes it."""
    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    return [*system, question_message([image], question)]


def _words(item: Item, output: Any, files: RunFiles | None) -> dict[str, Any]:
    """A row without its verdict; a drawn image is saved."""
    start = {"id": item.id, "kind": item.kind}
    if isinstance(item, ToAnswer):
        return {**start, "question": item.question, **item.facts, "answer": output}
    if isinstance(item, Judged):
        return {**start, "prompt": item.prompt, "image": item.image}
    image = None
    if files is not None:
        image = f"{item.id}.png"
        save_image(output, files.images / image)
    asked = {"prompt": item.prompt, "plan": output.info.get("plan"), "seed": item.seed}
    return {**start, **asked, **item.facts, "image": image}


def fingerprint(model: Any) -> str:
    """A few values of every weight in one number: a run that trains on keeps its folder's name."""
    digest = hashlib.sha256()
    for part in _networks(model):
        for name, weight in part.named_parameters():
            values = weight.detach().flatten()[:PROBED_VALUES].float().cpu()
            digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]


def versions(model: Any) -> dict[str, str]:
    """What a result may depend on beside its settings: in its last digits, it should not."""
    found = {package: version(package) for package in PACKAGES}
    found["python"] = platform.python_version()
    for part in _networks(model)[:1]:
        weight = next(part.parameters())
        found |= {"device": weight.device.type, "dtype": str(weight.dtype).removeprefix("torch.")}
    return found


def _networks(model: Any) -> list[torch.nn.Module]:
    """The model's weights, then its VAE's; nothing of what has none."""
    parts = (getattr(model, name, None) for name in ("model", "vae"))
    return [part for part in parts if isinstance(part, torch.nn.Module)]
