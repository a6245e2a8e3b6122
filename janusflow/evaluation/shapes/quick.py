"""A few drawings and answers, judged as ShapesEval and its questions are: what a model still can.

For before and after of a fine-tune; `janusflow eval shapes` gives intervals and all verdicts.
"""

from collections.abc import Sequence
from typing import Any

from janusflow.evaluation.shapes.prompts import (
    CATEGORIES,
    MAX_ANSWER_TOKENS,
    Category,
    questioned_scenes,
    shape_prompts,
)
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.language.questions import is_correct
from janusflow.mini.language.words import Language


def quick_scores(
    jf: JanusFlow,
    number: int,
    *,
    seed: int,
    categories: Sequence[Category] = CATEGORIES,
    languages: Sequence[Language] = ("en",),
    **drawing: Any,
) -> dict[str, float]:
    """Shares right: of `number` drawings of each category and language, and of as many questions.

    Args:
        jf: what is measured.
        number: of drawings a category and language, and of questions a category and language.
        seed: of prompts, questions and noise.
        categories: of ShapesEval.
        languages: of prompts; questions come in both.
        drawing: options of `jf.generate`, such as steps=10.
    """
    scores = {}
    for category in categories:
        prompts = shape_prompts(category, number, seed=seed)
        verdicts = []
        for language in languages:
            texts = [each.text(language) for each in prompts]
            seeds = [seed + index for index in range(number)]
            images = jf.generate(texts, seed=seeds, **drawing)
            verdicts += [p.judge(image) for p, image in zip(prompts, images, strict=True)]
        scores[category] = sum(each["right"] for each in verdicts) / len(verdicts)
    total = number * len(categories) * len(languages)
    asked = questioned_scenes(total, seed=seed, size=jf.image_size)
    said = jf.ask(
        [image for image, _ in asked],
        [question.text for _, question in asked],
        max_new_tokens=MAX_ANSWER_TOKENS,
    )
    right = [
        is_correct(question, answer) for (_, question), answer in zip(asked, said, strict=True)
    ]
    return scores | {"questions": sum(right) / len(right)}
