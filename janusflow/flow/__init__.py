"""Rectified flow as pure functions of tensors: path, times, noise, guidance, solvers.

Time has one direction: t=0 is noise, t=1 is data, velocity = data - noise. Nothing here knows a
model, a prompt or an image; the velocity is a function that the caller hands in.
"""

from janusflow.flow.guidance import guided, with_guidance, with_guidance_schedule
from janusflow.flow.noise import sample_noise
from janusflow.flow.path import PathPoint, VelocityFn, per_example, point_on_path
from janusflow.flow.reuse import VelocityExtrapolation, VelocityOfRows, with_extrapolation
from janusflow.flow.solvers import (
    AdaptiveSolution,
    Sampler,
    StepInfo,
    VelocityQuery,
    adaptive_solver_steps,
    run_sampler,
    solve,
    solve_adaptive,
    solver_steps,
)
from janusflow.flow.tableaus import SOLVERS, ButcherTableau
from janusflow.flow.times import GRIDS, sample_logit_normal, time_grid

__all__ = [
    "GRIDS",
    "SOLVERS",
    "AdaptiveSolution",
    "ButcherTableau",
    "PathPoint",
    "Sampler",
    "StepInfo",
    "VelocityExtrapolation",
    "VelocityFn",
    "VelocityOfRows",
    "VelocityQuery",
    "adaptive_solver_steps",
    "guided",
    "per_example",
    "point_on_path",
    "run_sampler",
    "sample_logit_normal",
    "sample_noise",
    "solve",
    "solve_adaptive",
    "solver_steps",
    "time_grid",
    "with_extrapolation",
    "with_guidance",
    "with_guidance_schedule",
]
