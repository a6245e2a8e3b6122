"""Explicit Runge-Kutta methods as data: one Butcher tableau each.

Coefficients are those of Hairer, Norsett, Wanner, "Solving Ordinary Differential Equations I",
sections II.1 (midpoint, Heun, RK4) and II.5 (table 5.2, Dormand-Prince 5(4)).
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ButcherTableau:
    """Stage i is the velocity at t + c[i] h and x_t + h * sum_j a[i][j] stage[j], j < i."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    """Weights of the stages in the step."""
    c: tuple[float, ...]
    """Times of the stages, in steps."""
    order: int
    """The error of a whole path falls as the step size to this power."""
    b_low: tuple[float, ...] | None = None
    """Weights of a result one order lower; its difference to the step estimates the error."""

    @property
    def num_stages(self) -> int:
        """Evaluations of the velocity in one step."""
        return len(self.b)


EULER = ButcherTableau(a=((),), b=(1.0,), c=(0.0,), order=1)

MIDPOINT = ButcherTableau(a=((), (1 / 2,)), b=(0.0, 1.0), c=(0.0, 1 / 2), order=2)

HEUN = ButcherTableau(a=((), (1.0,)), b=(1 / 2, 1 / 2), c=(0.0, 1.0), order=2)

RK4 = ButcherTableau(
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    order=4,
)

DOPRI5 = ButcherTableau(
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    order=5,
    b_low=(
        5179 / 57600,
        0.0,
        7571 / 16695,
        393 / 640,
        -92097 / 339200,
        187 / 2100,
        1 / 40,
    ),
)

SOLVERS: dict[str, ButcherTableau] = {
    "euler": EULER,
    "midpoint": MIDPOINT,
    "heun": HEUN,
    "rk4": RK4,
    "dopri5": DOPRI5,
}
