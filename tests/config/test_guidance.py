"""Guidance over time: what a text means, and what has no meaning."""

import re

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.guidance import read_guidance, schedule_of

TIMES = [0.0, 0.1, 0.3, 0.5, 0.6, 0.9, 1.0]


def weights(guidance: float | str) -> list[float]:
    schedule = schedule_of(guidance)
    return [schedule.weight(t) for t in TIMES]


@pytest.mark.parametrize(
    ("guidance", "expected"),
    [
        (2.5, [2.5] * 7),
        ("2.5", [2.5] * 7),
        ("3@0.1-0.6", [1, 3, 3, 3, 1, 1, 1]),
        ("3@0.6-1", [1, 1, 1, 1, 3, 3, 3]),
        ("4..1", [4, 3.7, 3.1, 2.5, 2.2, 1.3, 1]),
        ("1..4@0.1-0.6", [1, 1, 2.2, 3.4, 1, 1, 1]),
        ("-1@0-0.1+5@0.5-0.6+2..0@0.6-1", [-1, 1, 1, 5, 2, 0.5, 0]),
    ],
)
def test_a_text_is_weights_over_time(guidance: float | str, expected: list[float]):
    assert weights(guidance) == pytest.approx(expected)


@pytest.mark.parametrize("guidance", ["3@0.1-0.7", "1..4@0-0.7+4@0.7-1"])
def test_a_bound_is_met_by_a_time_that_rounding_moved(guidance: str):
    """0.7 in float32 is less than 0.7: a step that starts there belongs to what comes after."""
    assert schedule_of(guidance).weight(0.7 - 3e-8) == schedule_of(guidance).weight(0.7)
    assert schedule_of("3@0.1-0.6").weight(0.1 - 3e-8) == 3.0


def test_one_number_is_constant_and_a_change_is_not():
    assert schedule_of(2.0).constant == schedule_of("2@0-1").constant == 2.0
    assert schedule_of("2@0-0.5").constant is None
    assert schedule_of("2..1").constant is None


def test_weights_of_one_piece_never_jump():
    assert schedule_of(2.0).is_one_piece
    assert schedule_of("4..1").is_one_piece
    assert not schedule_of("4@0-0.5").is_one_piece
    assert not schedule_of("4@0-0.5+2@0.5-1").is_one_piece


def test_weight_1_everywhere_is_no_guidance():
    assert not schedule_of(1.0).is_guided
    assert not schedule_of("1@0.2-0.4").is_guided
    assert schedule_of("1..2").is_guided
    assert schedule_of(0.0).is_guided


def test_what_is_typed_is_a_number_where_it_is_one():
    assert read_guidance("2") == 2.0
    assert read_guidance(2.0) == 2.0
    assert read_guidance("3@0.1-0.6") == "3@0.1-0.6"


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        ("", "guidance='': wanted a weight such as 2"),
        ("strong", "guidance='strong'"),
        ("3@0.1", "guidance='3@0.1'"),
        ("3@0.1-0.2-0.3", "guidance='3@0.1-0.2-0.3'"),
        ("3@0.1-0.6+", "guidance=''"),
        ("3@0.6-0.1", "guidance from t=0.6 to t=0.1"),
        ("3@0.4-0.4", "guidance from t=0.4 to t=0.4"),
        ("3@0.4-30", "guidance from t=0.4 to t=30"),
        ("3@0.4-0.8+2@0.1-0.2", "guidance up to t=0.8, then from t=0.1"),
        ("3@0-0.5+2@0.4-1", "guidance up to t=0.5, then from t=0.4"),
        ("nan", "guidance from nan to nan is not within 1000"),
        ("inf", "guidance from inf to inf is not within 1000"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(guidance: str, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        read_guidance(guidance)
    assert "\n" not in str(refusal.value)
