"""Rectified flow as pure functions of tensors: path, times, noise, guidance, solvers.

Time has one direction: t=0 is noise, t=1 is data, velocity = data - noise. Nothing here knows a
model, a prompt or an image; the velocity is a function that the caller hands in.
"""

from janusflow.flow.guidance import guided, with_guidance, with_guidance_schedule
from janusflow.flow.noise import sample_noise
from janusflow.flow.path import PathPoint, VelocityFn, per_example, point_on_path
from janusflow.flow.reuse import Foretelling, VelocityOfRows, with_reuse
from janusflow.flow.solvers import (
    AdaptiveSolution,
    Evaluation,
    Solving,
    StepInfo,
    evaluate_all,
    solve,
    solve_adaptive,
    solving,
    solving_adaptively,
)
from janusflow.flow.tableaus import SOLVERS, ButcherTableau
from janusflow.flow.times import GRIDS, sample_logit_normal, time_grid

__all__ = [
    "GRIDS",
    "SOLVERS",
    "AdaptiveSolution",
    "ButcherTableau",
    "Evaluation",
    "Foretelling",
    "PathPoint",
    "Solving",
    "StepInfo",
    "VelocityFn",
    "VelocityOfRows",
    "evaluate_all",
    "guided",
    "per_example",
    "point_on_path",
    "sample_logit_normal",
    "sample_noise",
    "solve",
    "solve_adaptive",
    "solving",
    "solving_adaptively",
    "time_grid",
    "with_guidance",
    "with_guidance_schedule",
    "with_reuse",
]
