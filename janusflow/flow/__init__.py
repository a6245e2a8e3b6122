"""Rectified flow as pure functions of tensors: path, times, noise, guidance, solvers.

Time has one direction: t=0 is noise, t=1 is data, velocity = data - noise. Nothing here knows a
model or an image; a sampler asks for the velocities that it needs (sampler.py).
"""

from janusflow.flow.extrapolation import extrapolate
from janusflow.flow.guidance import combine, guide
from janusflow.flow.interpolation import mix, spherical
from janusflow.flow.inversion import reverse, reverse_times
from janusflow.flow.noise import sample_noise
from janusflow.flow.path import PathPoint, keep, per_example, point_on_path
from janusflow.flow.sampler import (
    CONDITIONAL,
    UNCONDITIONAL,
    Sampler,
    Velocity,
    VelocityQuery,
    run_sampler,
)
from janusflow.flow.solvers import StepInfo, solve, solve_adaptive
from janusflow.flow.tableaus import SOLVERS, ButcherTableau
from janusflow.flow.times import GRIDS, sample_logit_normal, time_grid

__all__ = [
    "CONDITIONAL",
    "GRIDS",
    "SOLVERS",
    "UNCONDITIONAL",
    "ButcherTableau",
    "PathPoint",
    "Sampler",
    "StepInfo",
    "Velocity",
    "VelocityQuery",
    "combine",
    "extrapolate",
    "guide",
    "keep",
    "mix",
    "per_example",
    "point_on_path",
    "reverse",
    "reverse_times",
    "run_sampler",
    "sample_logit_normal",
    "sample_noise",
    "solve",
    "solve_adaptive",
    "spherical",
    "time_grid",
]
