"""The tasks `shapes` (ShapesEval) and `easy-vqa`: scenes of shapes, drawn and asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.data.wheels import fetch_wheel
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.scores import Measurement, shares
from janusflow.evaluation.core.tasks import Row, Task, ToAnswer, ToDraw
from janusflow.evaluation.shapes.prompts import (
    CATEGORIES,
    MAX_ANSWER_TOKENS,
    Category,
    ShapePrompt,
    kinds,
    names_of,
    questioned_scenes,
    shape_prompts,
)
from janusflow.evaluation.shapes.scores import (
    category_scores,
    own_image_scores,
    plan_scores,
    question_scores,
    true_render_scores,
)
from janusflow.evaluation.shapes.tower import Tower, as_text
from janusflow.evaluation.shapes.variety import look, variety_scores
from janusflow.mini.language.questions import Question, is_correct
from janusflow.mini.language.wordings import WORDINGS
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.naming import named_objects
from janusflow.mini.training.easy_vqa import PACKAGE, EasyVqa

DEFAULT_LIMIT = 500
EASY_VQA = Path("runs/mini/easy-vqa")
OWN_IMAGE = "own image"
LIMIT_PER_SEED = 5
"""Each prompt whose variety is measured is drawn a fifth as often as a category has prompts."""
SEEDS_APART = 100_000
"""From one category's first image to the next one's, so that each has noise of its own."""


def shapes(options: TaskOptions) -> Task:
    """ShapesEval: six categories of drawings, what the model says of its own, and questions."""
    categories = _chosen("categories", options.categories, CATEGORIES)
    languages = _chosen("languages", options.languages, LANGUAGES)
    limit, seed, size = options.limit or DEFAULT_LIMIT, options.seed, options.model().image_size
    prompts = {category: shape_prompts(category, limit, seed=seed) for category in categories}
    varied = varied_prompts(categories, languages, seed=seed)
    num_seeds = limit // LIMIT_PER_SEED if options.variety is None else options.variety
    tower = Tower()

    def judge(item: ToDraw | ToAnswer, output: Any) -> dict[str, Any]:
        if item.kind in varied:
            right = varied[item.kind].judge(output)["right"]
            return {"right": right, "seen": asdict(look(output))}
        if isinstance(item, ToDraw):
            prompt = prompts[item.facts["category"]][item.facts["index"]]
            return {**prompt.judge(output), "features": as_text(tower.features([output])[0])}
        is_own = item.kind == OWN_IMAGE
        return judge_description(item, output) if is_own else judge_answer(item, output)

    def score(rows: Sequence[Row]) -> list[Measurement]:
        drawn = [row for row in rows if "prompt" in row and row["kind"] not in varied]
        return [
            *category_scores(drawn),
            *plan_scores(drawn),
            *own_image_scores(drawn),
            *question_scores([row for row in rows if "asks" in row]),
            *true_render_scores(prompts, drawn, seed=seed, size=size, tower=tower),
            *variety_scores([r for r in rows if r["kind"] in varied], varied, seed=seed),
        ]

    return Task(
        name="shapes",
        protocol="ShapesEval: GenEval's six categories on held-out compositions of shapes, judged "
        "by the scene generator's own detector; docs/evaluation.md says what each asks and judges.",
        settings={"seed": seed, "tower": tower.fingerprint},
        items=[
            *drawings(prompts, languages, seed=seed),
            *questions(limit, languages, seed=seed, size=size),
            *varied_drawings(varied, num_seeds, seed=seed),
        ],
        judge=judge,
        score=score,
        follow_up=lambda item, image: None if item.kind in varied else about_own_image(item, image),
    )


def easy_vqa(options: TaskOptions) -> Task:
    """The test split of easy-VQA, which is fetched on first use."""
    test = EasyVqa(fetch_wheel(PACKAGE, options.data or EASY_VQA), "test")
    items = [
        # Compared as a description is: as a whole.
        asked(
            number,
            test.images[index],
            Question(kind="description", text=question, answer=answer, language="en"),
        )
        for number, (question, answer, index) in enumerate(test.questions[: options.limit])
    ]
    return Task(
        name="easy-vqa",
        protocol="easy-VQA's test split in its own order; an answer is right as a whole.",
        settings={},
        items=items,
        judge=judge_answer,
        score=lambda rows: shares([("easy-VQA test", row["right"]) for row in rows])[:1],
    )


def _chosen(option: str, said: str | None, known: tuple[Any, ...]) -> tuple[Any, ...]:
    """The names in a list with commas, in the known order; all of them for None.

    Raises:
        ConfigError: a name is not known.
    """
    names = known if said is None else [name.strip() for name in said.split(",")]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--{option} {said}: {name!r} is none of {', '.join(known)}. "
                "Name some of them, with commas between."
            )
    return tuple(name for name in known if name in names)


def drawings(
    prompts: Mapping[Category, Sequence[ShapePrompt]], languages: Sequence[Language], *, seed: int
) -> list[ToDraw]:
    """Every prompt in every language; the languages share scenes, and seeds with them."""
    return [
        ToDraw(
            id=f"{category}-{language}-{index}",
            kind=f"{category} {language}",
            prompt=prompt.text(language),
            seed=seed + SEEDS_APART * CATEGORIES.index(category) + index,
            facts={
                "category": category,
                "language": language,
                "index": index,
                "wanted": names_of(kinds(prompt.scene.objects)),
            },
        )
        for category, of_category in prompts.items()
        for language in languages
        for index, prompt in enumerate(of_category)
    ]


def varied_prompts(
    categories: Sequence[Category], languages: Sequence[Language], *, seed: int
) -> dict[str, ShapePrompt]:
    """The prompts whose variety is measured: by kind of item, one for a category and language.

    Languages have prompts of their own here: no two of these are compared.
    """
    return {
        f"variety {category} {language}": shape_prompts(category, len(LANGUAGES), seed=seed)[number]
        for category in categories
        for number, language in enumerate(LANGUAGES)
        if language in languages
    }


def varied_drawings(
    prompts: Mapping[str, ShapePrompt], num_seeds: int, *, seed: int
) -> list[ToDraw]:
    """Every prompt so many times, on noise that no other drawing has."""
    items = []
    for place, (category, language) in enumerate(product(CATEGORIES, LANGUAGES)):
        kind = f"variety {category} {language}"
        first = seed + SEEDS_APART * (len(CATEGORIES) + place)
        items += [
            ToDraw(
                id=f"{kind.replace(' ', '-')}-{index}",
                kind=kind,
                prompt=prompts[kind].text(language),
                seed=first + index,
                facts={"wanted": names_of(kinds(prompts[kind].scene.objects))},
            )
            for index in range(num_seeds if kind in prompts else 0)
        ]
    return items


def about_own_image(item: ToDraw, image: Image.Image) -> ToAnswer:
    """Ask for a description of what was just drawn, in the prompt's language."""
    return ToAnswer(
        id=f"{item.id}-described",
        kind=OWN_IMAGE,
        image=image,
        question=WORDINGS[item.facts["language"]]["description"][0],
        system_prompt=None,
        max_new_tokens=MAX_ANSWER_TOKENS,
        facts={"language": item.facts["language"], "wanted": item.facts["wanted"]},
    )


def questions(limit: int, languages: Sequence[Language], *, seed: int, size: int) -> list[ToAnswer]:
    """So many questions in each language, on scenes of one to four objects."""
    about = questioned_scenes(limit * len(LANGUAGES), seed=seed, size=size)
    return [
        asked(index, image, question)
        for index, (image, question) in enumerate(about)
        if question.language in languages
    ]


def asked(index: int, image: Image.Image, question: Question) -> ToAnswer:
    """A question as an item."""
    return ToAnswer(
        id=f"ask-{index}",
        kind="question",
        image=image,
        question=question.text,
        system_prompt=None,
        max_new_tokens=MAX_ANSWER_TOKENS,
        facts={
            "asks": question.kind,
            "language": question.language,
            "wanted": question.answer,
        },
    )


def judge_answer(item: ToAnswer, answer: str) -> dict[str, Any]:
    """Whether the answer is the scene's."""
    question = Question(
        kind=item.facts["asks"],
        text=item.question,
        answer=item.facts["wanted"],
        language=item.facts["language"],
    )
    return {"right": is_correct(question, answer)}


def judge_description(item: ToAnswer, answer: str) -> dict[str, Any]:
    """Whether a description names exactly the objects that the prompt asked for."""
    named = names_of(named_objects(answer, language=item.facts["language"]))
    return {"right": named == item.facts["wanted"], "named": named}
