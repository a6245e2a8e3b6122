"""How MMMU reads answers: cases worked out from the official script by hand."""

import pytest

from janusflow.evaluation.mmmu_answers import chosen_option, is_open_right, said_in

OPTIONS = {"A": "$6", "B": "a red fox", "C": "the red fox den", "D": "12.5"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("'B'", "B"),
        ("(B)", "B"),
        ("(B) or A or C", "B"),  # brackets go before bare letters
        ("(B), no, (C)", "C"),  # the last one counts
        ("A B", "B"),
        ("A, that is", None),  # a letter counts with spaces on both sides alone
        ("b", None),
        ("It is a red fox", None),  # five words: too few for an option's text
        ("It is surely a red fox", "B"),
        ("It is surely A RED FOX indeed", "A"),  # a bare letter goes before any text
        ("It is surely a RED FOX indeed", "B"),
        ("It is not a red fox but the red fox den", "C"),
        ("I do not know what this is", None),
        ("E", None),
        ("", None),
    ],
)
def test_an_answer_names_the_option_it_names_last(answer: str, letter: str | None):
    assert chosen_option(answer, OPTIONS) == letter


@pytest.mark.parametrize(
    ("answer", "wanted", "is_right"),
    [
        ("36 watts", ["30"], False),
        ("30 watts", ["30"], True),
        ("The result is 1,000.004", ["1000"], True),  # two decimals
        ("1000.01", ["1000"], False),
        ("x = 2 + 3 = 5", ["5"], True),
        ("x = 2 + 3 = 5", ["3"], False),  # only what follows the last sign
        ("x = 3\nso it is 5", ["3"], False),  # a sign of equality counts in the last line alone
        ("1.5e3", ["1500"], True),
        ("-120", ["120"], False),
        ("24/7", ["24/7", "3.429"], True),
        ("about 3.43", ["24/7", "3.429"], True),
        ("An Embryonic disc", ["embryonic"], True),
        ("C", ["C"], True),
        ("vitamin C", ["C"], True),
        ("Cat", ["C"], False),
        ("", ["5"], False),
    ],
)
def test_an_open_answer_is_right_if_it_holds_the_text_or_equals_the_number(
    answer: str, wanted: list[str], is_right: bool
):
    assert is_open_right(answer, wanted) == is_right


def test_an_open_answer_means_the_ends_of_its_lines_and_their_numbers():
    assert said_in("So the current is 2 A.\nTherefore the power is 5 W") == {
        "2 a.",  # only the whole answer loses its last period
        "5 w",
        2.0,
        5.0,
    }
    assert said_in("Blue. Or Red.") == {"blue. or red"}
