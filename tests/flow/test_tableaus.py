"""Butcher tableaus: the algebra every Runge-Kutta method of its order must satisfy."""

import math

import pytest

from janusflow.flow.tableaus import DOPRI5, SOLVERS, ButcherTableau

every_tableau = pytest.mark.parametrize("tableau", SOLVERS.values(), ids=SOLVERS.keys())


@every_tableau
def test_rows_sum_to_their_times(tableau: ButcherTableau):
    assert [math.fsum(row) for row in tableau.a] == pytest.approx(list(tableau.c), abs=1e-14)


@every_tableau
def test_a_stage_uses_only_the_stages_before_it(tableau: ButcherTableau):
    assert [len(row) for row in tableau.a] == list(range(tableau.num_stages))


@every_tableau
def test_weights_integrate_powers_of_t_up_to_the_order(tableau: ButcherTableau):
    """sum_i b_i c_i^(k-1) = 1/k for k = 1 .. order: x' = k t^(k-1) ends at exactly 1."""
    for k in range(1, tableau.order + 1):
        moment = math.fsum(b * c ** (k - 1) for b, c in zip(tableau.b, tableau.c, strict=True))
        assert moment == pytest.approx(1.0 / k, abs=1e-14)


def test_the_low_weights_of_dopri5_are_of_order_4_and_not_5():
    assert DOPRI5.b_low is not None
    moments = [
        math.fsum(b * c ** (k - 1) for b, c in zip(DOPRI5.b_low, DOPRI5.c, strict=True)) * k
        for k in range(1, 6)
    ]
    assert moments[:4] == pytest.approx([1.0] * 4, abs=1e-14)
    assert abs(moments[4] - 1.0) > 1e-4


def test_only_dopri5_hands_its_last_stage_on():
    """It is evaluated at the step's end, where the next step begins."""
    handing_on = [
        name
        for name, tableau in SOLVERS.items()
        if tableau.c[-1] == 1.0 and tableau.b == (*tableau.a[-1], 0.0)
    ]
    assert handing_on == ["dopri5"]
