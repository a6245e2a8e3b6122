"""The average of the weights equals its closed form and never disturbs the weights themselves."""

import pytest
import torch
from torch import nn

from janusflow.training.engine.optim import Ema

LATE = 10_000
"""A step from which on the decay is the one asked for."""


def moved(
    layer: nn.Linear, num_updates: int, ema: Ema, *, first_step: int = LATE
) -> list[torch.Tensor]:
    """Random weights after each update, the first ones included."""
    history = [layer.weight.detach().double().clone()]
    for step in range(first_step, first_step + num_updates):
        with torch.no_grad():
            layer.weight.add_(torch.randn_like(layer.weight))
        ema.update(step)
        history.append(layer.weight.detach().double().clone())
    return history


@pytest.mark.parametrize("decay", [0.5, 0.99])
@pytest.mark.parametrize("num_updates", [0, 1, 7, 40])
def test_the_average_is_its_closed_form(decay: float, num_updates: int):
    """d^n w_0 + (1 - d) sum over i of d^(n - i) w_i, in float64."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False)
    ema = Ema(layer, decay=decay)
    history = moved(layer, num_updates, ema)
    expected = decay**num_updates * history[0]
    for i in range(1, num_updates + 1):
        expected += (1 - decay) * decay ** (num_updates - i) * history[i]
    torch.testing.assert_close(ema.shadow["weight"].double(), expected, atol=1e-5, rtol=0)


def test_the_average_of_a_short_run_is_of_its_late_weights():
    """At step n the decay is (1 + n) / (10 + n) at most.

    After 40 steps 1e-8 of the start is left, where 0.99 alone leaves 67%.
    """
    layer = nn.Linear(1, 1, bias=False)
    ema = Ema(layer, decay=0.99)
    with torch.no_grad():
        ema.shadow["weight"].fill_(1.0)
        layer.weight.fill_(0.0)
    left = 1.0
    for step in range(40):
        ema.update(step)
        left *= (1 + step) / (10 + step)
        assert ema.shadow["weight"].item() == pytest.approx(left, rel=1e-4)
    assert left < 1e-8


def test_the_average_is_float32_whatever_the_weights_are():
    """In bfloat16 steps of 1 - 0.99 would vanish: it has 8 bits."""
    layer = nn.Linear(2, 2, bias=False, dtype=torch.bfloat16)
    ema = Ema(layer, decay=0.99)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        ema.shadow["weight"].fill_(0.0)
    for step in range(LATE, LATE + 100):
        ema.update(step)
    assert ema.shadow["weight"].dtype == torch.float32
    assert ema.shadow["weight"].mean().item() == pytest.approx(1 - 0.99**100, abs=1e-5)


def test_the_average_is_in_place_inside_the_block_and_gone_after_it():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    ema = Ema(layer, decay=0.9)
    moved(layer, 3, ema)
    weight, bias, average = layer.weight.clone(), layer.bias.clone(), ema.shadow["weight"].clone()
    with ema.swapped_in():
        assert torch.equal(layer.weight, average)
        assert torch.equal(layer.bias, bias)
    assert torch.equal(layer.weight, weight)
    assert torch.equal(ema.shadow["weight"], average)
    assert set(ema.shadow) == {"weight"}


def test_the_weights_come_back_even_if_the_block_fails():
    layer = nn.Linear(3, 2)
    ema = Ema(layer, decay=0.9)
    moved(layer, 2, ema)
    weight = layer.weight.clone()
    with pytest.raises(ZeroDivisionError), ema.swapped_in():
        raise ZeroDivisionError
    assert torch.equal(layer.weight, weight)
