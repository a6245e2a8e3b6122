"""The schedule's values at its corners, and what the optimizer holds."""

from itertools import pairwise

import pytest
from torch import nn

from janusflow.config.training import OptimizerConfig
from janusflow.training.optim import build_optimizer, learning_rate


def rates(num_steps: int, *, warmup_steps: int, decay_steps: int = 0) -> list[float]:
    config = OptimizerConfig(learning_rate=8.0, warmup_steps=warmup_steps, decay_steps=decay_steps)
    return [learning_rate(step, config=config, num_steps=num_steps) for step in range(num_steps)]


def test_warm_up_is_a_line_that_reaches_the_rate_at_its_last_step():
    assert rates(6, warmup_steps=4) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]


def test_without_warm_up_the_rate_is_constant():
    assert rates(3, warmup_steps=0) == [8.0] * 3


def test_decay_is_a_line_towards_zero_after_the_last_step():
    assert rates(6, warmup_steps=0, decay_steps=4) == [8.0, 8.0, 8.0, 6.0, 4.0, 2.0]


def test_where_warm_up_and_decay_overlap_the_lower_one_holds():
    assert rates(4, warmup_steps=4, decay_steps=4) == [2.0, 4.0, 4.0, 2.0]


def test_every_step_of_a_long_schedule_moves_evenly():
    values = rates(1000, warmup_steps=100, decay_steps=300)
    steps = [b - a for a, b in pairwise(values)]
    assert steps[:99] == pytest.approx([0.08] * 99)
    assert steps[99:699] == [0.0] * 600
    assert steps[700:] == pytest.approx([-8.0 / 300] * 299)
    assert min(values) > 0


def test_the_optimizer_holds_what_trains_and_nothing_else():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    config = OptimizerConfig(learning_rate=0.1, betas=(0.8, 0.9), weight_decay=0.2)
    (group,) = build_optimizer(layer.parameters(), config).param_groups
    assert [id(p) for p in group["params"]] == [id(layer.weight)]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.8, 0.9), 0.2)
