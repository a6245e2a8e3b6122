"""ShapesEval as a whole: on a model that draws and answers truly, and on ones that do not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.runner import Report, RunFiles, run_task
from janusflow.evaluation.core.tasks import Row, ToDraw
from janusflow.evaluation.shapes.prompts import (
    CATEGORIES,
    MAX_ANSWER_TOKENS,
    names_of,
    questioned_scenes,
    shape_prompts,
)
from janusflow.evaluation.shapes.scores import outline_scores, plan_scores
from janusflow.evaluation.shapes.task import SEEDS_APART, shapes
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.mini.language.captions import description
from janusflow.mini.language.wordings import WORDINGS
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.naming import named_objects
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import Scene

SEED = 11
LIMIT = 2


@dataclass
class Oracle:
    """Draws the scene of a prompt and describes what it drew; answers questions as it is told."""

    answers: Mapping[str, str] = field(default_factory=dict)
    describes: Callable[[Scene, Language], str] = lambda scene, language: description(
        scene, language=language
    )
    drawn: list[tuple[str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    batches: list[tuple[str, int]] = field(default_factory=list)
    settings: set[tuple[int, float, str]] = field(default_factory=set)
    image_size: int = 64

    def __post_init__(self) -> None:
        # Prompts occur in several categories.
        self.scenes = {
            (prompt.text(language), SEED + SEEDS_APART * number + index): prompt.scene
            for number, category in enumerate(CATEGORIES)
            for index, prompt in enumerate(shape_prompts(category, LIMIT, seed=SEED))
            for language in LANGUAGES
        }
        self.described: dict[bytes, Scene] = {}

    def generate(
        self,
        prompt: Sequence[str],
        *,
        steps: int,
        guidance: float,
        solver: str,
        shift: float,
        numerics: str,
        plan: str,
        best_of: int,
        grid: str,
        guidance_rescale: float,
        reuse: float,
        upscale: str,
        seed: int,
        batch_size: int,
    ) -> list[Image.Image]:
        assert (shift, numerics, plan, best_of, upscale) == (1.0, "accurate", "auto", 1, "none")
        assert (grid, guidance_rescale, reuse) == ("uniform", 0.0, 0.0)
        assert batch_size == len(prompt)
        self.batches.append(("draw", len(prompt)))
        asked = [(text, seed + i) for i, text in enumerate(prompt)]
        self.drawn += asked
        self.settings.add((steps, guidance, solver))
        images = [render(self.scenes[each], size=self.image_size) for each in asked]
        for each, image in zip(asked, images, strict=True):
            self.described[image.tobytes()] = self.scenes[each]
        return images

    def answer(self, conversations: Sequence[Sequence[Any]], *, max_new_tokens: int) -> list[str]:
        assert max_new_tokens == MAX_ANSWER_TOKENS
        self.batches.append(("answer", len(conversations)))
        return [self._answer(*message["content"]) for (message,) in conversations]

    def _answer(self, image: Mapping[str, Any], text: Mapping[str, Any]) -> str:
        self.asked.append(text["text"])
        scene = self.described.get(image["image"].tobytes())
        for language in LANGUAGES:
            if scene is not None and text["text"] == WORDINGS[language]["description"][0]:
                return self.describes(scene, language)
        return self.answers.get(text["text"], "?")


def measured(
    oracle: Oracle, *, batch_size: int = 50, files: RunFiles | None = None, **said: Any
) -> Report:
    options = TaskOptions(model=lambda: oracle, limit=LIMIT, seed=SEED, **said)
    return run_task(
        shapes(options),
        oracle,
        name="oracle",
        drawing=DrawingSettings(),
        batch_size=batch_size,
        files=files,
    )


@pytest.fixture(scope="module")
def report() -> Report:
    """Of a model that answers every question rightly."""
    about = questioned_scenes(2 * LIMIT, seed=SEED, size=64)
    return measured(Oracle(answers={q.text: f" {q.answer.upper()}. " for _, q in about}))


def drawings(report: Report) -> list[Row]:
    return [row for row in report.rows if "prompt" in row]


def test_a_true_model_is_right_in_everything_that_is_reported(report: Report):
    names = [f"{category} {language}" for category in CATEGORIES for language in LANGUAGES]
    names += ["mean of categories en", "mean of categories ko"]
    names += [f"own image {x}, as {y}" for x in LANGUAGES for y in ("asked", "drawn")]
    names += ["questions", "questions en", "questions ko"]
    names += [f"detector, {category}" for category in CATEGORIES]
    told = [score for score in report.scores if not score.name.startswith("outlines")]
    shares = {score.name: score for score in told if score.is_share}
    assert set(names) <= set(shares)
    assert [score.value for score in shares.values()] == [1.0] * len(shares)
    assert all(score.interval is not None for score in shares.values())
    kinds = {row["asks"] for row in report.rows if "asks" in row}
    assert {f"questions {kind}" for kind in kinds} == set(shares) - set(names)
    assert [shares[name].num_items for name in names[:12]] == [LIMIT] * 12
    assert shares["questions"].num_items == 2 * LIMIT
    assert shares["mean of categories en"].num_items == 6 * LIMIT


def test_plans_are_scored_by_the_objects_they_name(report: Report):
    rows = [{**row, "plan": None} for row in drawings(report)]
    assert plan_scores(rows) == []
    rows = [{**row, "plan": row["prompt"]} for row in rows]
    assert [(s.name, s.value, s.num_items) for s in plan_scores(rows)] == [
        ("plans en", 1.0, 6 * LIMIT),
        ("plans ko", 1.0, 6 * LIMIT),
    ]
    (korean,) = [row for row in rows if row["id"] == "single-ko-0"]
    (english,) = [row for row in rows if row["id"] == "single-en-0"]
    korean["plan"] = english["prompt"]  # plans may be in another language
    assert plan_scores(rows)[1].value == 1.0
    rows[0]["plan"] = "a red circle and one thing more: a red circle"
    assert [s.value for s in plan_scores(rows)] == [pytest.approx(1 - 1 / (6 * LIMIT)), 1.0]


def test_true_renders_are_at_no_distance_and_renders_arranged_anew_at_the_floor(report: Report):
    told = [score for score in report.scores if score.name.startswith("tower distance")]
    distances = {score.name.rpartition(" ")[2]: score for score in told}
    assert list(distances) == ["en", "ko", "floor"]
    assert {score.num_items for score in distances.values()} == {6 * LIMIT}
    assert distances["en"].value == distances["ko"].value == pytest.approx(0.0, abs=0.01)
    assert distances["floor"].value > 0.1


def test_outlines_of_drawings_stand_beside_those_of_true_renders(report: Report):
    told = {s.name: (s.value, s.num_items) for s in report.scores if s.name.startswith("outlines")}
    # A true model's drawings are true renders: each set once, and for each language.
    assert set(told) == {"outlines en", "outlines ko", "outlines of true renders"}
    assert len(set(told.values())) == 1
    ((value, number),) = set(told.values())
    assert 0.93 < value < 1.0
    assert number == 6 * LIMIT
    half = {"en": 0.5, "ko": None}  # Korean ones empty: they have no outlines
    worse = [{**row, "outline": half[row["language"]]} for row in drawings(report)]
    assert [(score.name, score.value) for score in outline_scores(worse, [1.0, None, 0.8])] == [
        ("outlines en", 0.5),
        ("outlines of true renders", pytest.approx(0.9)),
    ]


def test_an_item_asks_the_same_in_both_languages_with_the_same_noise(report: Report):
    rows = {(row["category"], row["index"], row["language"]): row for row in drawings(report)}
    assert len(rows) == 6 * 2 * LIMIT
    for (category, index, language), row in rows.items():
        other = rows[category, index, "en"]
        assert (row["wanted"], row["seed"]) == (other["wanted"], other["seed"])
        assert names_of(named_objects(row["prompt"], language=language)) == row["wanted"]
    seeds = {row["seed"] for row in rows.values()}
    assert len(seeds) == 6 * LIMIT


def test_the_model_is_called_once_an_image_and_twice_an_own_image_in_batches():
    whole, parts = Oracle(), Oracle()
    assert measured(whole).rows == measured(parts, batch_size=2).rows
    assert (whole.drawn, whole.asked) != ([], [])
    assert whole.drawn == parts.drawn
    assert len(whole.drawn) == 12 * LIMIT
    assert len(whole.asked) == 12 * LIMIT + 2 * LIMIT
    # Each category's images have seeds in a row, and are asked about at once.
    assert whole.batches == [("draw", LIMIT), ("answer", LIMIT)] * 12 + [("answer", 2 * LIMIT)]
    assert whole.settings == {(30, 2.0, "euler")}


def test_a_run_that_was_cut_off_asks_about_every_own_image_once(tmp_path: Path):
    class Cut(Oracle):
        def answer(self, conversations: Sequence[Any], *, max_new_tokens: int) -> list[str]:
            if len(self.batches) > 1:
                raise KeyboardInterrupt
            return super().answer(conversations, max_new_tokens=max_new_tokens)

    files = RunFiles(report=tmp_path / "out.json")
    cut = Cut()
    with pytest.raises(KeyboardInterrupt):
        measured(cut, files=files, categories="two,counting")
    rest, whole = Oracle(), Oracle()
    report = measured(rest, files=files, categories="two,counting")
    elsewhere = RunFiles(report=tmp_path / "other.json")
    assert report == measured(whole, files=elsewhere, categories="two,counting")
    # The batch that was drawn and not asked about is drawn again.
    assert len(cut.drawn) == 2 * LIMIT
    assert cut.drawn[:LIMIT] + rest.drawn == whole.drawn
    again = Oracle()
    assert measured(again, files=files, categories="two,counting") == report
    assert again.batches == []


def test_an_own_image_is_described_rightly_only_by_all_of_its_objects():
    told = Oracle(describes=lambda scene, language: "a red ring and 빨간 고리")
    for row in drawings(measured(told, categories="two", languages="en")):
        assert row["then"]["named"] == ["red ring"]
        assert not row["then"]["right"]


def test_a_wrong_image_that_is_described_rightly_is_right_as_drawn_alone():
    oracle = Oracle()
    # Every prompt is drawn as the one after it: of another composition.
    asked, scenes = list(oracle.scenes), list(oracle.scenes.values())
    oracle.scenes = dict(zip(asked, scenes[6:] + scenes[:6], strict=True))
    report = measured(oracle, categories="two,counting", languages="en")
    scores = {score.name: score for score in report.scores}
    assert scores["own image en, as drawn"].value == 1.0
    assert scores["own image en, as asked"].value < 0.5
    assert scores["mean of categories en"].value < 0.5


def test_some_categories_and_languages_are_a_part_of_all_of_them(report: Report):
    part = measured(Oracle(), categories="position, two", languages="ko")
    wanted = [
        row
        for row in drawings(report)
        if row["category"] in ("two", "position") and row["language"] == "ko"
    ]
    assert drawings(part) == wanted
    asked = {row["language"] for row in part.rows if "asks" in row}
    assert asked == {"ko"}


@pytest.mark.parametrize("said", [{"categories": "two,three"}, {"languages": "fr"}])
def test_an_unknown_category_or_language_is_refused_with_the_known_ones(said: dict[str, str]):
    with pytest.raises(ConfigError, match="is none of") as refused:
        shapes(TaskOptions(model=Oracle, **said))
    assert "\n" not in str(refused.value)


def test_drawings_of_a_larger_limit_begin_with_those_of_a_smaller_one():
    def items(limit: int) -> dict[str, ToDraw]:
        task = shapes(TaskOptions(model=Oracle, limit=limit, seed=SEED))
        return {item.id: item for item in task.items if isinstance(item, ToDraw)}

    small, large = items(2), items(4)
    assert {id: large[id] for id in small} == small
