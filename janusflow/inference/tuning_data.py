"""What a model adds to a folder of pictures before it is tuned on it: captions, and its own past.

Prior preservation (Ruiz et al. 2022, DreamBooth): a model that learns a few pictures forgets the
rest, so its own drawings of other prompts are learnt beside them, with its own answers about these
drawings, and its plans if it plans. Nothing else is needed for that, no data of its first training.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from janusflow.config.errors import DataError
from janusflow.config.files import replace_text
from janusflow.data.picture_folder import Picture
from janusflow.data.sources.adapters import LLAVA_TAG
from janusflow.data.sources.formats import CAPTION_QUESTION
from janusflow.inference.drawing.metadata import DrawingRecord, read_record, save_image
from janusflow.inference.pipeline import JanusFlow
from janusflow.tuning.recipe import DataFiles

QUESTIONS = (CAPTION_QUESTION, "Describe the picture.", "What is in the picture?")
"""Asked about the model's own drawings, if no others are known."""
MAX_ANSWER_TOKENS = 96
BATCH_SIZE = 8
PRIOR = "prior"
"""Folder of the drawings."""


class Prior(NamedTuple):
    """What the model draws and is asked about it, to go on doing both as it does."""

    prompt: str
    questions: Sequence[str] = QUESTIONS


def captioned(jf: JanusFlow, pictures: Sequence[Picture], *, prompt: str | None) -> dict[Path, str]:
    """What each picture is learnt as: its own caption, else the prompt, else the model's answer."""
    said = {each.path: each.caption or prompt for each in pictures}
    silent = [path for path, caption in said.items() if caption is None]
    told = answers(jf, silent, [CAPTION_QUESTION] * len(silent))
    said |= {path: answer.strip() or "a picture" for path, answer in zip(silent, told, strict=True)}
    return {path: caption for path, caption in said.items() if caption is not None}


def answers(
    jf: JanusFlow, images: Sequence[Path | Image.Image], questions: Sequence[str]
) -> list[str]:
    """The likeliest answer about each image; none for no images."""
    if not images:
        return []
    return list(jf.ask(list(images), list(questions), max_new_tokens=MAX_ANSWER_TOKENS))


def write_data(
    jf: JanusFlow,
    captions: Mapping[Path, str],
    prior: Sequence[Prior],
    folder: Path,
    *,
    questions: Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> DataFiles:
    """Draw and ask what preserves the model, and write it with the captions as files of rows.

    Drawings that are there already stay, so an interrupted call goes on.

    Args:
        jf: the model before it is tuned.
        captions: of the pictures that are to be drawn.
        prior: what is drawn and asked, image i with seed + i; none for no prior preservation.
        folder: where files and drawings go.
        questions: conversations that are learnt as they are, with their pictures beside the file.
        seed: of the first drawing.
        progress: show a bar on stderr.

    Raises:
        DataError: the folder has files of other pictures, captions or prompts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = dict.fromkeys(captions.values())
    drawn = _draw(jf, [each.prompt for each in prior], folder / PRIOR, seed=seed, progress=progress)
    rows: dict[str, Iterable[Mapping[str, Any]]] = {}
    if captions:
        pairs = ((str(path.resolve()), words) for path, words in captions.items())
        rows["own"] = ({"image": path, "caption": words} for path, words in pairs)
    if drawn:
        shown = ((path, record.plan or record.prompt) for path, record in drawn.items())
        rows["prior"] = ({"image": _inside(path), "caption": words} for path, words in shown)
        rows["prior_answers"] = _answered(jf, list(drawn), prior)
    if jf.model.config.plans:
        if said:  # what is new is drawn as it is asked for
            rows["own_plans"] = (_plan(each, each) for each in said)
        if drawn:
            rows["prior_plans"] = (_plan(r.prompt, r.plan or r.prompt) for r in drawn.values())
    files = {name: folder / f"{name.replace('_', '-')}.jsonl" for name in rows}
    for name, file in files.items():
        _write(file, rows[name])
    return DataFiles(questions=questions, **files)


def _inside(path: Path) -> str:
    """A drawing, as rows beside its folder name it."""
    return f"{PRIOR}/{path.name}"


def _draw(
    jf: JanusFlow, prompts: Sequence[str], folder: Path, *, seed: int, progress: bool
) -> dict[Path, DrawingRecord]:
    """The drawings with their records; those that are there of the same prompts stay."""
    folder.mkdir(exist_ok=True)
    wanted = {folder / f"{index:04d}.png": prompt for index, prompt in enumerate(prompts)}
    missing = [path for path, prompt in wanted.items() if not _shows(path, prompt)]

    def keep(place: int, image: Image.Image) -> None:
        save_image(image, missing[place])

    if missing:
        jf.generate(
            [wanted[path] for path in missing],
            seed=[seed + int(path.stem) for path in missing],
            batch_size=BATCH_SIZE,
            on_image=keep,
            progress=progress,
        )
    records = {path: read_record(path) for path in wanted}
    return {path: record for path, record in records.items() if record is not None}


def _shows(path: Path, prompt: str) -> bool:
    record = read_record(path) if path.is_file() else None
    return record is not None and record.prompt == prompt


def _answered(
    jf: JanusFlow, drawn: Sequence[Path], prior: Sequence[Prior]
) -> Iterable[dict[str, Any]]:
    """A conversation for each question about a drawing."""
    asked = [(p, q) for p, each in zip(drawn, prior, strict=True) for q in each.questions]
    paths, questions = [path for path, _ in asked], [question for _, question in asked]
    told = answers(jf, paths, questions)
    for path, question, answer in zip(paths, questions, told, strict=True):
        if answer.strip():
            said = _turns(f"{LLAVA_TAG}\n{question}", answer.strip())
            yield {"image": _inside(path), **said}


def _plan(prompt: str, plan: str) -> dict[str, Any]:
    return _turns(f"Plan: {prompt}", plan)


def _turns(question: str, answer: str) -> dict[str, Any]:
    said = (("human", question), ("gpt", answer))
    return {"conversations": [{"from": who, "value": words} for who, words in said]}


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows; a run that has begun with others would not notice."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise DataError(
            f"{file}: made from other pictures, captions or class prompts than are given now: "
            f"choose another --output, or delete {file.parent.parent}."
        )
    replace_text(file, text)
