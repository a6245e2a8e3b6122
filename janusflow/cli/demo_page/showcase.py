"""What the demo shows: drawn images, one path from noise to image, answered questions.

Everything is drawn and answered anew by the model at hand. Answers are compared with what is
known: the scene an image was rendered from, or the prompt it was drawn from.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.language.questions import Kind, Question, ask_all, is_correct
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene

NUM_SCENES = 4
QUESTIONS_PER_SCENE = 3
MAX_ANSWER_TOKENS = 48
NUM_FRAMES = 9


@dataclass(frozen=True, kw_only=True)
class PromptToShow:
    """A prompt, and a question about its image that the prompt itself answers."""

    prompt: str
    question: Question


def _show(prompt: str, language: Language, kind: Kind, question: str, answer: str) -> PromptToShow:
    asked = Question(kind=kind, text=question, answer=answer, language=language)
    return PromptToShow(prompt=prompt, question=asked)


PROMPTS = (
    _show("a red circle", "en", "shape", "What shape is it?", "circle"),
    _show("파란 별", "ko", "colour", "무슨 색이야?", "파란색"),
    _show(
        "a blue star to the left of a yellow heart",
        "en",
        "relation",
        "What is to the left of the heart?",
        "blue star",
    ),
    _show("초록색 삼각형 위에 빨간 사각형", "ko", "yes_no", "파란 원이 있나요?", "아니요"),
    _show("three orange diamonds", "en", "count", "How many objects are there?", "3"),
    _show("분홍색 하트 두 개", "ko", "count", "도형이 몇 개 있나요?", "2"),
    _show(
        "a large purple ring on a pale green background",
        "en",
        "colour",
        "What colour is the ring?",
        "purple",
    ),
    _show("가운데에 검은 십자가", "ko", "colour", "십자가는 무슨 색인가요?", "검은색"),
)
PATH_PROMPT = 2
"""Index of the prompt whose path from noise to image is shown."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One moment of a path."""

    t: float
    state: Image.Image
    """The point on the path itself, decoded."""
    preview: Image.Image
    """Where the path would end if it went straight on from here."""


@dataclass(frozen=True, kw_only=True)
class AnsweredQuestion:
    """A question with the model's answer and the right one."""

    question: str
    answer: str
    expected: str
    is_correct: bool


@dataclass(frozen=True, kw_only=True)
class QuestionedImage:
    """An image and everything asked about it."""

    image: Image.Image
    prompt: str | None
    """What it was drawn from; None for a rendered scene."""
    asked: list[AnsweredQuestion]


@dataclass(frozen=True, kw_only=True)
class Showcase:
    """Everything the page shows."""

    model: str
    num_parameters: int
    device: str
    steps: int
    drawn: list[Image.Image]
    """With their records attached."""
    path: list[Frame]
    about_drawings: list[QuestionedImage]
    about_scenes: list[QuestionedImage]
    """Of compositions that training never saw."""
    seconds_drawing: float
    seconds_path: float
    seconds_answering: float


def run_showcase(
    jf: JanusFlow, *, steps: int = 30, seed: int = 0, progress: bool = False
) -> Showcase:
    """Draw, follow one path, and ask."""
    clock = [time.perf_counter()]
    prompts = [each.prompt for each in PROMPTS]
    drawn = jf.generate(prompts, steps=steps, seed=seed, progress=progress)
    clock.append(time.perf_counter())
    path = follow_path(jf, prompts[PATH_PROMPT], steps=steps, seed=seed + PATH_PROMPT)
    clock.append(time.perf_counter())
    about_drawings, about_scenes = ask_about_drawings(jf, drawn), ask_about_scenes(jf, seed=seed)
    clock.append(time.perf_counter())
    return Showcase(
        model=jf.name,
        num_parameters=sum(parameter.numel() for parameter in jf.model.parameters()),
        device=jf.model.device.type,
        steps=steps,
        drawn=drawn,
        path=path,
        about_drawings=about_drawings,
        about_scenes=about_scenes,
        seconds_drawing=clock[1] - clock[0],
        seconds_path=clock[2] - clock[1],
        seconds_answering=clock[3] - clock[2],
    )


def follow_path(
    jf: JanusFlow, prompt: str, *, steps: int, seed: int, num_frames: int = NUM_FRAMES
) -> list[Frame]:
    """Draw one image and keep moments of it, evenly spread, the finished image last."""
    wanted = {round(i * steps / (num_frames - 1)) for i in range(num_frames - 1)}
    frames: list[Frame] = []

    def keep(step: DrawingStep) -> None:
        if step.index in wanted:
            frames.append(Frame(t=step.t, state=step.state[0], preview=step.preview[0]))

    (image,) = jf.generate(prompt, steps=steps, seed=seed, on_step=keep)
    return [*frames, Frame(t=1.0, state=image, preview=image)]


def ask_about_drawings(jf: JanusFlow, drawn: list[Image.Image]) -> list[QuestionedImage]:
    """Ask about each image what its prompt answers: the model looks at its own drawing."""
    shown = [(image, [each.question]) for image, each in zip(drawn, PROMPTS, strict=True)]
    return list(_answered(jf, shown, prompts=[each.prompt for each in PROMPTS]))


def ask_about_scenes(jf: JanusFlow, *, seed: int) -> list[QuestionedImage]:
    """Ask about rendered scenes of held-out compositions, in both languages."""
    shown = []
    for index in range(NUM_SCENES):
        rng = np.random.default_rng((seed, index))
        scene = sample_scene(rng, num_objects=1 + index % 3, split="heldout")
        questions = ask_all(scene, rng, language=LANGUAGES[index % len(LANGUAGES)])
        chosen = rng.permutation(len(questions))[:QUESTIONS_PER_SCENE]
        image = render(scene, size=jf.image_size)
        shown.append((image, [questions[i] for i in chosen.tolist()]))
    return list(_answered(jf, shown, prompts=[None] * len(shown)))


def _answered(
    jf: JanusFlow,
    shown: list[tuple[Image.Image, list[Question]]],
    *,
    prompts: list[str] | list[None],
) -> Iterator[QuestionedImage]:
    for (image, questions), prompt in zip(shown, prompts, strict=True):
        texts = [question.text for question in questions]
        answers = jf.ask(image, texts, max_new_tokens=MAX_ANSWER_TOKENS)
        asked = [
            AnsweredQuestion(
                question=question.text,
                answer=answer,
                expected=question.answer,
                is_correct=is_correct(question, answer),
            )
            for question, answer in zip(questions, answers, strict=True)
        ]
        yield QuestionedImage(image=image, prompt=prompt, asked=asked)
