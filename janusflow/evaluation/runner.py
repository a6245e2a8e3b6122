"""Run a task: draw and answer its items in batches, keep every verdict, then sum them up.

A picture depends on its prompt, seed and settings, an answer on its question, so an interrupted
run goes on with the items that are missing and ends as it would have.
"""

import hashlib
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.answers import AnswerLog
from janusflow.evaluation.scores import Measurement
from janusflow.evaluation.tasks import Drawn, Item, Model, Row, Task, ToAnswer, ToDraw
from janusflow.inference.answering.chat import question_message
from janusflow.inference.drawing.metadata import save_image
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.processing.image_files import open_image

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
        """The drawn pictures with their verdicts."""
        return self.report.with_suffix(".html")

    @property
    def pictures(self) -> Path:
        """The folder of the drawn pictures."""
        return self.report.with_suffix(".pictures")

    @property
    def for_judge(self) -> Path:
        """The answers for a judge elsewhere."""
        return self.report.with_suffix(".answers.json")

    def check(self) -> None:
        """Refuse a place where nothing can be written."""
        folder = self.report.parent
        if not folder.is_dir():
            raise ConfigError(f"--output {self.report}: no folder {folder}. Make it first.")
        if self.report.suffix != ".json":
            raise ConfigError(
                f"--output {self.report}: wanted a name that ends in .json, for answers and "
                "pictures lie beside it under other endings."
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
    for_judge: Any = None
    """All answers as a judge elsewhere takes them, where the task has one."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The processes that share a run, as one of them sees it; alone unless told otherwise."""

    number: int = 0
    """This process's, from 0."""
    size: int = 1
    wait: Callable[[], None] = lambda: None
    """Returns when every process has come there."""


ALONE = Crew()


def run_task(
    task: Task,
    model: Model | None,
    *,
    name: str,
    drawing: DrawingSettings,
    batch_size: int = DEFAULT_BATCH_SIZE,
    files: RunFiles | None = None,
    crew: Crew = ALONE,
) -> Report:
    """Measure a model, going on from the rows that are already there.

    Args:
        task: what to measure.
        model: draws and answers; None where pictures are there already.
        name: of the model.
        drawing: how pictures are drawn.
        batch_size: items side by side; no result depends on it.
        files: where to keep rows and pictures; None keeps nothing.
        crew: draws and answers every n-th batch each; all of them end with the whole report.

    Raises:
        ConfigError: rows are there that other settings decided, or something needs `files` to
            be kept in (pictures measured together, answers for a judge, rows of several processes).
        DataError: two items have one id.
    """
    _check(task, files, crew)
    is_drawn = any(isinstance(item, ToDraw) for item in task.items)
    settings = dict(task.settings) | (asdict(drawing) if is_drawn else {})
    decided_by = {"task": task.name, "model": name, "weights": fingerprint(model)} | settings
    answers = None if files is None else files.answers
    log = AnswerLog(answers, decided_by, process=crew.number)
    crew.wait()  # what is missing is the same to all of them
    missing = [item for item in task.items if item.id not in log.rows]
    own = list(batches(missing, batch_size))[crew.number :: crew.size]
    with tqdm(total=sum(map(len, own)), desc=task.name, disable=crew.number > 0) as bar:
        for batch in own:
            log.add(_rows(task, model, batch, drawing, files))
            bar.update(len(batch))
    crew.wait()
    if crew.size > 1:
        log = AnswerLog(answers, decided_by, process=crew.number)
    rows = [log.rows[item.id] for item in task.items]
    scores = task.score(rows)
    if task.score_set is not None:
        scores += task.score_set(rows, Path() if files is None else files.pictures)
    return Report(
        task=task.name,
        model=name,
        protocol=task.protocol,
        settings=settings,
        versions=versions(model),
        scores=scores,
        rows=rows,
        for_judge=None if task.for_judge is None else task.for_judge(rows),
    )


def _check(task: Task, files: RunFiles | None, crew: Crew) -> None:
    for id, number in Counter(item.id for item in task.items).items():
        if number > 1:
            raise DataError(f"{task.name}: got {number} items {id}, wanted one. Mend the file.")
    if files is not None:
        return
    if task.for_judge is not None:
        raise ConfigError(f"{task.name}: its judge needs a file of answers: name --output F.json.")
    if task.score_set is not None and any(isinstance(item, ToDraw) for item in task.items):
        raise ConfigError(
            f"{task.name} got no --output: wanted a file, beside which the pictures are kept that "
            "are measured together."
        )
    if crew.size > 1:
        raise ConfigError(
            f"got {crew.size} processes and no --output: name one: they share rows by its files."
        )


def _rows(
    task: Task,
    model: Model | None,
    batch: Sequence[Item],
    drawing: DrawingSettings,
    files: RunFiles | None,
) -> list[dict[str, Any]]:
    """What comes of a batch: words, verdicts, and questions about pictures just drawn."""
    outputs = _outputs(model, batch, drawing)
    rows = [
        {**_words(item, out, files), **task.judge(item, out)}
        for item, out in zip(batch, outputs, strict=True)
    ]
    ask = task.follow_up
    if ask is not None and isinstance(batch[0], ToDraw):
        drawn = zip(batch, outputs, strict=True)
        asked = [ask(item, picture) for item, picture in drawn if isinstance(item, ToDraw)]
        for row, then in zip(rows, _rows(task, model, asked, drawing, files), strict=True):
            row["then"] = then
    return rows


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
    return isinstance(first, Drawn) and isinstance(second, Drawn)


def _outputs(model: Model | None, batch: Sequence[Item], drawing: DrawingSettings) -> list[Any]:
    if model is None:
        return [open_image(item.picture) for item in batch if isinstance(item, Drawn)]
    drawn = [item for item in batch if isinstance(item, ToDraw)]
    asked = [item for item in batch if isinstance(item, ToAnswer)]
    if drawn:
        prompts = [item.prompt for item in drawn]
        return model.generate(prompts, seed=drawn[0].seed, batch_size=len(drawn), **asdict(drawing))
    return model.answer(
        [conversation(item.picture, item.question, item.system_prompt) for item in asked],
        max_new_tokens=asked[0].max_new_tokens,
    )


def conversation(picture: Any, question: str, system_prompt: str | None) -> list[Any]:
    """One question about its picture or pictures, as a model's `answer` takes it."""
    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    if not isinstance(picture, Mapping):
        return [*system, question_message([picture], question)]
    marks = "|".join(map(re.escape, picture)) or "$"
    pieces = [piece.strip() for piece in re.split(f"({marks})", question)]
    parts = [
        {"type": "image", "image": picture[piece]}
        if piece in picture
        else {"type": "text", "text": piece}
        for piece in pieces
        if piece
    ]
    return [*system, {"role": "user", "content": parts}]


def _words(item: Item, output: Any, files: RunFiles | None) -> dict[str, Any]:
    """A row without its verdict; a drawn picture is saved."""
    start = {"id": item.id, "kind": item.kind}
    if isinstance(item, ToAnswer):
        return {**start, "question": item.question, **item.facts, "answer": output}
    if isinstance(item, Drawn):
        return {**start, "prompt": item.prompt, **item.facts, "picture": str(item.picture)}
    picture = None
    if files is not None:
        picture = f"{item.id}.png"
        save_image(output, files.pictures / picture)
    asked = {"prompt": item.prompt, "plan": output.info.get("plan"), "seed": item.seed}
    return {**start, **asked, **item.facts, "picture": picture}


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
