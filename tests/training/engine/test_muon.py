"""Muon against PyTorch's, against singular values, and shared out among processes."""

import pytest
import torch
from torch import nn

from janusflow.training.engine import optim as muon
from janusflow.training.engine.optim import Muon, orthogonal, shared_out

SHAPES = ((6, 4), (4, 6), (5, 5))


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_three_steps_are_those_of_pytorchs_muon(decay: float):
    ours, theirs = matrices(), matrices()
    common = {"lr": 0.1, "weight_decay": decay}
    own = Muon(ours, **common, dtype=torch.bfloat16)
    other = torch.optim.Muon(theirs, **common, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        for optimizer, moved in ((own, ours), (other, theirs)):
            generator = torch.Generator().manual_seed(step)
            for parameter in moved:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    for a, b, start in zip(ours, theirs, matrices(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
        assert (a - start).abs().mean() > 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_an_orthogonal_factor_keeps_directions_and_has_singular_values_near_1(
    shape: tuple[int, int],
):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    strengths = torch.diagonal(u.T @ orthogonal(matrix, torch.float32) @ v.T)
    assert strengths.min() > 0.6
    assert strengths.max() < 1.3
    rest = orthogonal(matrix, torch.float32) - u @ torch.diag(strengths) @ v
    assert rest.abs().max() < 1e-4


def test_a_step_without_gradients_moves_nothing():
    still = matrices()
    Muon(still, lr=0.1, weight_decay=0.5).step()
    assert all(torch.equal(a, b) for a, b in zip(still, matrices(), strict=True))


def test_processes_share_the_matrices_out_and_have_all_factors(monkeypatch: pytest.MonkeyPatch):
    held, computed = [p.detach() for p in matrices()], []
    alone = shared_out(held, torch.float32)
    parts = []

    def remember(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        computed.append(tuple(matrix.shape))
        return orthogonal(matrix, dtype)

    monkeypatch.setattr(muon, "orthogonal", remember)
    monkeypatch.setattr(muon, "num_processes", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(muon, "rank", lambda rank=rank: rank)
        parts.append(shared_out(held, torch.float32))
    assert sorted(computed) == sorted(SHAPES)
    for whole, first, second in zip(alone, *parts, strict=True):
        assert torch.equal(whole, first + second)
