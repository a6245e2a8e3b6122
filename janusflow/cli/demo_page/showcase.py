"""What the demo shows: drawn images, one path from noise to image, answered questions.

Everything is drawn and answered anew by the model at hand. Answers are compared with what is
known: the scene an image was rendered from, or the prompt it was drawn from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.language.questions import Kind, Question, ask_all
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene

NUM_SCENES = 4
QUESTIONS_PER_SCENE = 3
MAX_ANSWER_TOKENS = 48
NUM_FRAMES = 9


def _question(language: Language, kind: Kind, text: str, answer: str) -> Question:
    return Question(kind=kind, text=text, answer=answer, language=language)


PROMPTS = {
    "a red circle": _question("en", "shape", "What shape is it?", "circle"),
    "파란 별": _question("ko", "colour", "무슨 색이야?", "파란색"),
    "a blue star to the left of a yellow heart": _question(
        "en", "relation", "What is to the left of the heart?", "blue star"
    ),
    "초록색 삼각형 위에 빨간 사각형": _question("ko", "yes_no", "파란 원이 있나요?", "아니요"),
    "three orange diamonds": _question("en", "count", "How many objects are there?", "3"),
    "분홍색 하트 두 개": _question("ko", "count", "도형이 몇 개 있나요?", "2"),
    "a large purple ring on a pale green background": _question(
        "en", "colour", "What colour is the ring?", "purple"
    ),
    "가운데에 검은 십자가": _question("ko", "colour", "십자가는 무슨 색인가요?", "검은색"),
}
"""What is drawn, and a question about the image that the prompt itself answers."""
PATH_PROMPT = 2
"""Index of the prompt whose path from noise to image is shown."""


class Frame(NamedTuple):
    """One moment of a path: the point on it, decoded, and where it would end going straight on."""

    t: float
    state: Image.Image
    preview: Image.Image


@dataclass(frozen=True, kw_only=True)
class QuestionedImage:
    """An image, and everything asked about it with the model's answers."""

    image: Image.Image
    prompt: str | None
    """What it was drawn from; None for a rendered scene."""
    asked: Sequence[tuple[Question, str]]


@dataclass(frozen=True, kw_only=True)
class Showcase:
    """Everything the page shows."""

    drawn: list[Image.Image]
    """With their records attached."""
    path: list[Frame]
    """Moments of one drawing, evenly spread, the finished image last."""
    about_drawings: list[QuestionedImage]
    about_scenes: list[QuestionedImage]
    """Of compositions that training never saw."""
    seconds_drawing: float
    seconds_answering: float


def run_showcase(
    jf: JanusFlow, *, steps: int = 30, seed: int = 0, progress: bool = False
) -> Showcase:
    """Draw, follow one path, and ask."""
    prompts = list(PROMPTS)
    start = time.perf_counter()
    drawn = jf.generate(prompts, steps=steps, seed=seed, progress=progress)
    seconds_drawing = time.perf_counter() - start
    path = follow_path(jf, prompts[PATH_PROMPT], steps=steps, seed=seed + PATH_PROMPT)
    start = time.perf_counter()
    about_drawings = [
        _answered(jf, image, [question], prompt=prompt)
        for image, (prompt, question) in zip(drawn, PROMPTS.items(), strict=True)
    ]
    return Showcase(
        drawn=drawn,
        path=path,
        about_drawings=about_drawings,
        about_scenes=ask_about_scenes(jf, seed=seed),
        seconds_drawing=seconds_drawing,
        seconds_answering=time.perf_counter() - start,
    )


def follow_path(jf: JanusFlow, prompt: str, *, steps: int, seed: int) -> list[Frame]:
    """Draw one image and keep moments of it, evenly spread, the finished image last."""
    wanted = {round(i * steps / (NUM_FRAMES - 1)) for i in range(NUM_FRAMES - 1)}
    frames: list[Frame] = []

    def keep(step: DrawingStep) -> None:
        if step.index in wanted:
            frames.append(Frame(step.t, step.state[0], step.preview[0]))

    (image,) = jf.generate(prompt, steps=steps, seed=seed, on_step=keep)
    return [*frames, Frame(1.0, image, image)]


def ask_about_scenes(jf: JanusFlow, *, seed: int) -> list[QuestionedImage]:
    """Ask about rendered scenes of held-out compositions, in both languages."""
    found = []
    for index in range(NUM_SCENES):
        rng = np.random.default_rng((seed, index))
        scene = sample_scene(rng, num_objects=1 + index % 3, split="heldout")
        questions = ask_all(scene, rng, language=LANGUAGES[index % len(LANGUAGES)])
        chosen = rng.permutation(len(questions))[:QUESTIONS_PER_SCENE]
        image = render(scene, size=jf.image_size)
        found.append(_answered(jf, image, [questions[i] for i in chosen.tolist()], prompt=None))
    return found


def _answered(
    jf: JanusFlow, image: Image.Image, questions: Sequence[Question], *, prompt: str | None
) -> QuestionedImage:
    texts = [question.text for question in questions]
    answers = jf.ask(image, texts, max_new_tokens=MAX_ANSWER_TOKENS)
    asked = list(zip(questions, answers, strict=True))
    return QuestionedImage(image=image, prompt=prompt, asked=asked)
