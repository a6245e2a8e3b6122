"""What mini's rewards read in a prompt, and what they say of true renders."""

from collections.abc import Sequence

import pytest
from PIL import Image

from janusflow.config.errors import DataError
from janusflow.mini.rewards import allowed_descriptions, asked_by, described, likelihood, right
from janusflow.mini.scenes.naming import named_relation
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import Background, Scene, SceneObject

WHITE = Background(kind="plain", tones=("white",))
RED = SceneObject(shape="circle", colour="red", size="medium", x=0.25, y=0.5)
BLUE = SceneObject(shape="square", colour="blue", size="medium", x=0.75, y=0.5)


def picture(*things: SceneObject) -> Image.Image:
    return render(Scene(objects=things, background=WHITE), size=64)


class Judge:
    """Gives each description a probability, and describes everything in one way."""

    def __init__(self, text: str = "", chances: dict[str, float] | None = None) -> None:
        self.text, self.chances = text, chances or {}

    def ask(self, images: list, questions: list[str], *, max_new_tokens: int) -> list[str]:
        assert len(images) == len(questions)
        assert max_new_tokens > 0
        return [self.text] * len(images)

    def log_likelihoods(self, asked: Sequence[tuple], answers: Sequence[str]) -> list[float]:
        assert len(asked) == len(answers)
        return [self.chances[answer] for answer in answers]


@pytest.mark.parametrize(
    ("prompt", "is_right"),
    [
        ("a red circle and a blue square", True),
        ("a red circle left of a blue square", True),
        ("a blue square to the right of a red circle", True),
        ("a red circle above a blue square", False),
        ("a blue square left of a red circle", False),
        ("a blue circle and a red square", False),
        ("a red circle", False),
        ("파란 사각형 왼쪽에 빨간 원", True),
        ("빨간 원 왼쪽에 파란 사각형", False),
        ("빨간 원과 파란 사각형", True),
    ],
)
def test_right_is_what_the_detector_finds_where_the_prompt_wants_it(prompt: str, is_right: bool):
    drawn = [picture(RED, BLUE), picture(RED), picture()]
    assert right(None, prompt, drawn) == [float(is_right), float(prompt == "a red circle"), 0.0]


def test_relations_are_read_only_where_just_two_objects_stand_around_one():
    assert named_relation("a red circle under a blue star", language="en") == (
        *(("red", "circle"), "below", ("blue", "star")),
    )
    for text in (
        "a red circle and a blue star",
        "two red circles left of a blue star",
        "red circle",
    ):
        assert named_relation(text, language="en") is None


def test_described_reads_minis_own_description():
    prompt = "a blue square to the right of a red circle"
    said = "a red circle left of a blue square"
    assert described(Judge(said), prompt, [picture(RED)] * 2) == [1.0, 1.0]
    assert described(Judge("a red circle above a blue square"), prompt, [picture(RED)]) == [0.0]
    assert described(Judge("a red circle"), prompt, [picture(RED)]) == [0.0]
    assert described(Judge(said), "a red circle and a blue square", [picture(RED)]) == [1.0]


def test_a_prompt_allows_every_description_of_what_it_leaves_open():
    assert allowed_descriptions(asked_by("a blue square to the right of a red circle")) == [
        "a red circle left of a blue square"
    ]
    assert {*allowed_descriptions(asked_by("빨간 원과 파란 사각형"))} == {
        *("파란 사각형 왼쪽에 빨간 원", "빨간 원 왼쪽에 파란 사각형"),
        *("파란 사각형 위에 빨간 원", "빨간 원 위에 파란 사각형"),
    }
    assert allowed_descriptions(asked_by("three red circles")) == ["three red circles"]
    assert allowed_descriptions(asked_by("a red circle")) == ["a red circle"]


def test_likelihood_adds_up_the_probabilities_of_all_that_is_allowed():
    texts = allowed_descriptions(asked_by("a red circle and a blue square"))
    chances = dict.fromkeys(texts, -1.3862943611)  # a quarter each
    assert likelihood(Judge(chances=chances), "a red circle and a blue square", [picture()]) == [
        pytest.approx(0.0, abs=1e-6)
    ]
    chances = dict.fromkeys(texts, -2000.0)  # no underflow
    (found,) = likelihood(Judge(chances=chances), "a red circle and a blue square", [picture()])
    assert found == pytest.approx(-2000 + 1.3862943611)


def test_a_prompt_without_coloured_shapes_cannot_be_judged():
    with pytest.raises(DataError, match="'something nice' names no coloured shape"):
        right(None, "something nice", [picture(RED)])
