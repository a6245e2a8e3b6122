"""The tasks `shapes` and `easy-vqa`: drawing and answering about single scenes of shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import Measurement, as_measurement, shares
from janusflow.evaluation.shapes import (
    LANGUAGES,
    MAX_ANSWER_TOKENS,
    Drawing,
    captioned_scenes,
    kinds,
    plain_question,
    questioned_scenes,
    score_detector,
)
from janusflow.evaluation.tasks import Row, Task, ToAnswer, ToDraw
from janusflow.mini.detector import detect
from janusflow.mini.easy_vqa import EasyVqa, fetch_easy_vqa
from janusflow.mini.questions import Question, is_correct

DEFAULT_LIMIT = 300
EASY_VQA = Path("runs/mini/easy-vqa")


def shapes(options: TaskOptions) -> Task:
    """Captions and questions of scenes whose composition training never saw."""
    limit, seed, size = options.limit or DEFAULT_LIMIT, options.seed, options.model().image_size
    scenes: dict[str, Any] = {}
    drawn = []
    for language in LANGUAGES:
        captioned = captioned_scenes(
            limit, seed=seed, language=language, num_objects=options.objects
        )
        for index, (scene, prompt) in enumerate(captioned):
            item = ToDraw(
                id=f"draw-{language}-{index}",
                kind=f"drawing {language}",
                prompt=prompt,
                seed=seed + index,
            )
            scenes[item.id] = scene
            drawn.append(item)
    about = questioned_scenes(limit, seed=seed, size=size)
    questions = [asked(index, picture, question) for index, (picture, question) in enumerate(about)]

    def judge(item: Any, output: Any) -> dict[str, Any]:
        if isinstance(item, ToAnswer):
            return answer_verdict(item, output)
        return _drawing_verdict(scenes[item.id], item, output)

    def score(rows: Sequence[Row]) -> list[Measurement]:
        detector = score_detector(limit, seed=seed, num_objects=options.objects, size=size)
        named = [pair for row in rows if "prompt" in row for pair in _named_verdicts(row)]
        answers = [(f"question {row['asks']}", row["right"]) for row in rows if "asks" in row]
        return [as_measurement(detector), *shares(named)[:-1], *shares(answers)]

    return Task(
        name="shapes",
        protocol="Held-out compositions of the scene generator, judged by its own detector; a "
        "drawing is right when it has exactly the scene's objects.",
        settings={"seed": seed, "objects": options.objects},
        items=[*drawn, *questions],
        judge=judge,
        score=score,
    )


def easy_vqa(options: TaskOptions) -> Task:
    """The test split of easy-VQA, which is fetched on first use."""
    test = EasyVqa(fetch_easy_vqa(options.data or EASY_VQA), "test")
    chosen = test.questions[: options.limit or DEFAULT_LIMIT]
    items = [
        asked(number, test.pictures[index], plain_question(question, answer))
        for number, (question, answer, index) in enumerate(chosen)
    ]
    return Task(
        name="easy-vqa",
        protocol="easy-VQA's test split in its own order; an answer is right as a whole.",
        settings={},
        items=items,
        judge=answer_verdict,
        score=lambda rows: shares([("easy-VQA test", row["right"]) for row in rows])[:1],
    )


def asked(index: int, picture: Image.Image, question: Question) -> ToAnswer:
    """A question as an item."""
    return ToAnswer(
        id=f"ask-{index}",
        kind="question",
        picture=picture,
        question=question.text,
        system_prompt=None,
        max_new_tokens=MAX_ANSWER_TOKENS,
        facts={
            "asks": question.kind,
            "language": question.language,
            "wanted": question.answer,
        },
    )


def answer_verdict(item: ToAnswer, answer: str) -> dict[str, Any]:
    """Whether the answer is the scene's."""
    question = Question(
        kind=item.facts["asks"],
        text=item.question,
        answer=item.facts["wanted"],
        language=item.facts["language"],
    )
    return {"right": is_correct(question, answer)}


def _drawing_verdict(scene: Any, item: ToDraw, picture: Any) -> dict[str, Any]:
    found = kinds(detect(picture))
    verdicts = Drawing(scene=scene, prompt=item.prompt, picture=picture, found=found).verdicts
    words = [" ".join(kind) for kind in found.elements()]
    return {
        "right": verdicts[""],
        "verdicts": verdicts,
        "found": words,
        "why": f"found {', '.join(words) or 'nothing'}",
    }


def _named_verdicts(row: Row) -> list[tuple[str, bool]]:
    return [(f"{row['kind']}{of}", right) for of, right in row["verdicts"].items()]
