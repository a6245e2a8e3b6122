"""The soft accuracies on cases whose value follows from the official scripts by hand."""

import pytest

from janusflow.evaluation.soft_accuracy import (
    CONTRACTIONS,
    soft_accuracy,
    textvqa_accuracy,
    vqa_accuracy,
)

OTHERS = [f"other {letter}" for letter in "qrstuvwxyz"]


def people(*answers: str) -> list[str]:
    """Ten people, the others of whom agree with nobody."""
    return [*answers, *OTHERS[len(answers) :]]


@pytest.mark.parametrize(
    ("num_agreeing", "wanted"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_agreeing_people_are_worth_what_the_ten_choose_nine_rule_says(
    num_agreeing: int, wanted: float
):
    assert soft_accuracy("x", people(*["x"] * num_agreeing)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("A dog.", "dog"),
        ("the Two", "2"),
        ("None", "0"),
        ("yes,", "yes"),
        ("1,000", "1000"),
        ("red/blue", "red blue"),
        ("2.5", "2.5"),
        ("o clock\n", "o clock"),
    ],
)
def test_vqa_normalises_the_models_answer(answer: str, said: str):
    """People's answers lose punctuation alone, so what is wanted stands here as it is compared."""
    assert vqa_accuracy(answer, people(*[said] * 4)) == 1.0


def test_vqa_leaves_what_all_people_say_alone():
    """Ten times "9:30" is compared as it is, and no normalised answer can match it."""
    assert vqa_accuracy("9:30", ["9:30"] * 10) == 0.0
    assert vqa_accuracy("9:30", people(*["9:30"] * 9)) == 1.0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Dont walk", "don't walk"),
        ("The Coca-Cola!", "coca cola"),
        ("joe's bar", "Joe 's bar"),
        ("one", "1"),
        ("9:30", "9:30"),
    ],
)
def test_textvqa_normalises_both_alike(answer: str, said: str):
    assert textvqa_accuracy(answer, people(*[said] * 4)) == 1.0
    assert textvqa_accuracy(said, people(*[answer] * 4)) == 1.0


def test_a_contraction_is_mended_where_one_apostrophe_is_missing():
    assert CONTRACTIONS["couldnt've"] == CONTRACTIONS["couldn'tve"] == "couldn't've"
    assert CONTRACTIONS["y'alld've"] == "y'all'd've"
    assert CONTRACTIONS["ow's'at"] == "'ow's'at"
    assert "couldntve" not in CONTRACTIONS
    assert "its" not in CONTRACTIONS
