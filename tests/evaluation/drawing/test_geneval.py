"""GenEval's logic on detections whose verdict is known, and from its file to its scores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import Scripted, measure, values
from PIL import Image

from janusflow.config.errors import ConfigError, DataError, NotFiniteError
from janusflow.evaluation.drawing.geneval import keep_certain, mismatches, relations
from janusflow.evaluation.drawing.judges import Detection

IMAGE = Image.new("RGB", (100, 100))


def at(x: float, y: float, *, score: float = 0.95, size: float = 10) -> Detection:
    half = size / 2
    return Detection((x - half, y - half, x + half, y + half), score)


class Judge:
    """Sees what an image's info says is there; colours go by an object's left edge."""

    def detect(self, image: Image.Image) -> Mapping[str, Sequence[Detection]]:
        return image.info["objects"]

    def colours(self, image: Image.Image, objects: Sequence[Detection], name: str) -> Sequence[str]:
        return ["red" if each.box[0] < 50 else "blue" for each in objects]


def clause(name: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"class": name, "count": count, **more}


def is_right(
    objects: dict[str, list[Detection]],
    include: list[dict[str, Any]],
    exclude: list[dict[str, Any]] | None = None,
) -> bool:
    wanted = {"include": include, "exclude": exclude or []}
    return not mismatches(IMAGE, objects, wanted, Judge())


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (at(20, 50), at(80, 50), {"left of"}),
        (at(80, 50), at(20, 50), {"right of"}),
        (at(50, 20), at(50, 80), {"above"}),
        (at(50, 80), at(50, 20), {"below"}),
        (at(20, 20), at(80, 80), {"left of", "above"}),
        (at(50, 50), at(50, 50), set()),
        # Two boxes of 10 are beside one another from an offset of 0.1 * 20 = 2 on.
        (at(50, 50), at(51.9, 50), set()),
        (at(50, 50), at(54.1, 50), {"left of"}),
        # 3 past the margin of 2 is a third of the way: beyond, yet no half of the offset.
        (at(50, 50), at(53, 50), set()),
        # 30 degrees from the vertical lie just this side of half.
        (at(45, 0, size=0), at(0, 100, size=0), {"above"}),
    ],
)
def test_relations_are_directions_beyond_the_margin(
    one: Detection, other: Detection, wanted: set[str]
):
    assert relations(one, other) == wanted


def test_counting_asks_for_more_certainty_and_the_best_come_first():
    found = {"dog": [at(0, 0, score=0.5), at(1, 0, score=0.95), at(2, 0, score=0.3)]}
    assert [d.score for d in keep_certain(found, is_counting=False)["dog"]] == [0.95, 0.5]
    assert [d.score for d in keep_certain(found, is_counting=True)["dog"]] == [0.95]
    assert keep_certain({"dog": [at(0, 0, score=0.3)]}, is_counting=False) == {}
    many = {"dog": [at(0, 0, score=0.4 + i / 100) for i in range(40)]}
    kept = keep_certain(many, is_counting=False)["dog"]
    assert [d.score for d in kept] == [0.4 + i / 100 for i in range(39, 23, -1)]


@pytest.mark.parametrize(
    "found", [at(0, 0, score=float("nan")), at(float("inf"), 0), at(0, float("nan"), score=0.1)]
)
def test_detections_that_are_not_finite_are_no_verdict(found: Detection):
    with pytest.raises(NotFiniteError, match="the judge found dog in"):
        keep_certain({"cat": [at(0, 0)], "dog": [at(0, 0), found]}, is_counting=False)


def test_what_is_included_must_be_there_and_what_is_excluded_must_not():
    two = {"dog": [at(20, 20), at(80, 20)]}
    assert is_right(two, [clause("dog")])
    assert is_right(two, [clause("dog", 2)], [clause("dog", 3)])
    assert not is_right(two, [clause("dog", 1)], [clause("dog", 2)])
    assert not is_right(two, [clause("dog", 3)])
    assert not is_right(two, [clause("dog"), clause("cat")])


def test_colours_are_asked_of_the_most_certain_objects_alone():
    red, blue = at(20, 20), at(80, 20)
    assert is_right({"dog": [red, blue]}, [clause("dog", color="red")])
    assert not is_right({"dog": [blue, red]}, [clause("dog", color="red")])
    assert not is_right({"dog": [red, blue]}, [clause("dog", 2, color="red")])
    objects = {"dog": [red], "cat": [blue]}
    assert is_right(objects, [clause("dog", color="red"), clause("cat", color="blue")])
    assert not is_right(objects, [clause("dog", color="blue"), clause("cat", color="red")])


def test_a_place_is_seen_from_an_earlier_clause_that_is_there():
    objects = {"dog": [at(80, 50)], "cat": [at(20, 50)]}
    left = clause("cat", position=["left of", 0])
    assert is_right(objects, [clause("dog"), left])
    assert not is_right(objects, [clause("dog"), clause("cat", position=["above", 0])])
    wanted = {"include": [clause("bus"), left], "exclude": []}
    reasons = mismatches(IMAGE, objects, wanted, Judge())
    assert reasons == ["expected bus>=1, found 0", "no target for cat to be left of"]


PROMPTS = [
    {"tag": "single_object", "include": [clause("dog")], "prompt": "a photo of a dog"},
    {"tag": "single_object", "include": [clause("cat")], "prompt": "a photo of a cat"},
    {
        "tag": "counting",
        "include": [clause("dog", 2)],
        "exclude": [clause("dog", 3)],
        "prompt": "a photo of two dogs",
    },
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS), encoding="utf-8")
    (tmp_path / "plugged_in.py").write_text("judge = None\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    import importlib
    import sys

    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module("plugged_in")
    sys.path.pop(0)
    monkeypatch.setattr(module, "judge", Judge)
    return path


def draw(prompt: str, seed: int) -> Image.Image:
    """A dog in every image; two only where the seed is even; their score is below counting's."""
    number = 2 if "two" in prompt and seed % 2 == 0 else 1
    score = 0.85 if seed % 4 == 0 else 0.95
    image = IMAGE.copy()
    image.info["objects"] = {"dog": [at(20 + 60 * i, 50, score=score) for i in range(number)]}
    return image


def test_geneval_is_the_mean_of_categories_over_four_images_a_prompt(data: Path):
    model = Scripted(draw=draw)
    report = measure("geneval", model, data=data, judge="plugged_in:judge")
    # Dogs are right four times, cats never; two dogs for seeds 2 (mod 4) alone.
    assert values(report) == {"single_object": 0.5, "counting": 0.25, "overall": 0.375}
    assert [seed for _, seed in model.prompted] == list(range(2024, 2024 + 12))
    wrong = [row for row in report.rows if not row["right"]]
    assert wrong[0]["why"] == "expected cat>=1, found 0"
    assert all(score.interval is not None for score in report.scores)


def test_a_limit_is_of_prompts_and_keeps_their_seeds(data: Path):
    model = Scripted(draw=draw)
    report = measure("geneval", model, limit=1, data=data, judge="plugged_in:judge")
    assert [row["id"] for row in report.rows] == [f"0000{i}-{j}" for i in (0, 2) for j in range(4)]
    assert model.prompted[-1] == ("a photo of two dogs", 2024 + 11)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"tag": "two", "include": [], "prompt": "x"}, "line 4: got tag='two'"),
        ({"tag": "counting", "prompt": "x"}, r"line 4: got tag, prompt, wanted include \(a list\)"),
        (
            {"tag": "counting", "include": [{"class": "dog"}], "prompt": "x"},
            r"line 4, include\[0\]: got class, wanted count \(a whole number\)",
        ),
        (
            {"tag": "position", "include": [clause("dog", position=["above", 0])], "prompt": "x"},
            r"line 4, include\[0\]: got position=",
        ),
    ],
)
def test_a_wrong_line_is_named(line: dict[str, Any], message: str, data: Path):
    with data.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line))
    with pytest.raises(DataError, match=message):
        measure("geneval", Scripted(), data=data, judge="plugged_in:judge")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (None, "wanted a folder with mask2former"),
        ("official:nosuch", "official:nosuch: wanted a folder with"),
        ("nosuch:judge", "--judge nosuch:judge: No module named 'nosuch'"),
        ("plugged_in:nosuch", "has no attribute 'nosuch'"),
    ],
)
def test_a_judge_that_is_not_there_is_one_line(judge: str | None, message: str, data: Path):
    with pytest.raises(ConfigError, match=message) as refused:
        measure("geneval", Scripted(), data=data, judge=judge)
    assert "\n" not in str(refused.value)
