"""Differences, medians, ratios and floors, by numbers that are known."""

from dataclasses import replace

import numpy as np
import pytest

from janusflow.benchmark.cases import Answer, Request
from janusflow.benchmark.comparing import Difference, difference
from janusflow.benchmark.floors import floors
from janusflow.benchmark.report import FIRST_TOKEN, PER_TOKEN, PROCESSOR, report
from janusflow.benchmark.running import Measured, Plan
from janusflow.benchmark.weights import Facts
from janusflow.benchmark.worker import OFFICIAL, OURS

RATES = {"flops_per_second": 1e9, "bytes_per_second": 1e30}


def answer(seconds: float, laps: tuple[float, ...] = ()) -> Answer:
    return Answer(
        seconds=seconds, cpu_seconds=2 * seconds, peak_bytes=int(1e9), laps=list(laps), threads=1
    )


def test_a_difference_is_absolute_and_relative():
    found = difference("velocity", np.array([3.0, 0.0]), np.array([3.0, 4.0]))
    assert (found.largest, found.relative) == (4.0, pytest.approx(0.8))
    assert not found.is_equal


def test_levels_are_subtracted_without_wrapping_around():
    found = difference("levels", np.array([0], np.uint8), np.array([255], np.uint8))
    assert found.largest == 255


@pytest.mark.parametrize("wrong", [np.zeros(3), np.array([np.nan, 0.0])])
def test_other_shapes_and_no_numbers_are_never_equal(wrong: np.ndarray):
    assert difference("velocity", wrong, np.zeros(2)).largest == np.inf


def test_the_worst_round_counts():
    small, large = (Difference(name="velocity", largest=x, relative=x) for x in (1e-6, 1e-3))
    assert small.worse(None) is small
    assert small.worse(large) is large.worse(small) is large


def test_rows_hold_medians_and_how_many_times_longer_the_authors_take():
    measured = Measured(
        answers={
            ("ask, images 1", OURS): [answer(1.0, (0.5, 0.6, 0.7)), answer(9.0), answer(2.0)],
            ("ask, images 1", OFFICIAL): [answer(6.0)],
        },
        differences={},
        ceilings=RATES,
    )
    rows = report(measured, {("ask, images 1", PROCESSOR): 2.0}).rows
    (row,) = [row for row in rows if row.quantity == PROCESSOR]
    assert (row.ours, row.official, row.ratio, row.floor) == (4.0, 12.0, 3.0, 2.0)


def test_tokens_are_timed_from_the_first():
    measured = Measured(
        answers={("ask, images 1", OURS): [answer(1.0, (0.5, 0.6, 0.9))]},
        differences={},
        ceilings=RATES,
    )
    found = {row.quantity: row.ours for row in report(measured, {}).rows}
    assert found[FIRST_TOKEN] == 0.5
    assert found[PER_TOKEN] == pytest.approx(0.2)


def test_the_floor_grows_by_a_solver_step_a_step(request_of_tiny: Request, facts: Facts):
    def floor(steps: int) -> dict[tuple[str, str], float]:
        plan = Plan(request=replace(request_of_tiny, steps=steps))
        return floors(plan, facts, RATES)

    one, two, step = floor(6), floor(12), floor(6)["velocity, batch 1", PROCESSOR]
    key = ("picture, batch 1", PROCESSOR)
    assert two[key] - one[key] == pytest.approx(6 * step)
    quick = ("quick, batch 1", PROCESSOR)
    assert two[quick] - one[quick] == pytest.approx(2 * step)


def test_the_floor_is_inverse_to_the_rate(request_of_tiny: Request, facts: Facts):
    plan = Plan(request=request_of_tiny)
    slow = floors(plan, facts, RATES)
    fast = floors(plan, facts, {**RATES, "flops_per_second": 2e9})
    assert {round(slow[key] / fast[key], 6) for key in slow} == {2.0}
