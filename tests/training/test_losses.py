"""The three losses against plain loops, and what must not change them. All are sums."""

import math

import pytest
import torch
from torch import Tensor

from janusflow.data.collate import IGNORED
from janusflow.training.losses import alignment_loss, response_loss, velocity_loss


def example(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels of two rows, the second one padded, questions ignored."""
    logits = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(seed)) * 3
    labels = torch.tensor(
        [[IGNORED, IGNORED, 3, 1, IGNORED, 4], [IGNORED, 2, 0, IGNORED, IGNORED, IGNORED]]
    )
    return logits, labels


def test_the_response_loss_is_the_surprise_at_every_learnt_token():
    logits, labels = example()
    surprises = []
    for row, row_labels in zip(logits.double().tolist(), labels.tolist(), strict=True):
        for position, label in enumerate(row_labels):
            if label == IGNORED:
                continue
            before = row[position - 1]
            surprises.append(math.log(sum(math.exp(v) for v in before)) - before[label])
    assert response_loss(logits, labels).item() == pytest.approx(sum(surprises), abs=1e-5)


def test_only_logits_before_learnt_tokens_are_moved():
    logits, labels = example()
    logits.requires_grad_()
    response_loss(logits, labels).backward()
    assert logits.grad is not None
    is_moved = logits.grad.abs().sum(-1) > 0
    assert torch.equal(is_moved[:, :-1], labels[:, 1:] != IGNORED)
    assert not is_moved[:, -1].any()


def test_a_sure_right_answer_costs_nothing_and_ignorance_costs_the_log_of_the_vocabulary():
    _, labels = example()
    uniform = torch.zeros(2, 6, 5)
    num_learnt = int((labels != IGNORED).sum())
    expected = num_learnt * math.log(5)
    assert response_loss(uniform, labels).item() == pytest.approx(expected, abs=1e-5)
    sure = torch.zeros(2, 6, 5)
    for b, t in (labels != IGNORED).nonzero().tolist():
        sure[b, t - 1, labels[b, t]] = 100.0
    assert response_loss(sure, labels).item() == pytest.approx(0, abs=1e-6)


def test_the_velocity_loss_is_zero_at_the_truth_and_else_the_squared_error():
    truth = torch.randn(2, 4, 3, 3)
    assert velocity_loss(truth, truth).item() == 0
    assert velocity_loss(truth + 0.5, truth).item() == pytest.approx(0.25 * 72, rel=1e-6)
    predicted = torch.randn(2, 4, 3, 3)
    pairs = zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True)
    expected = sum((p - v) ** 2 for p, v in pairs)
    assert velocity_loss(predicted, truth).item() == pytest.approx(expected, rel=1e-5)


def test_the_velocity_loss_is_counted_in_float32():
    """In bfloat16 a difference of 1/512 of the value would vanish."""
    truth = torch.full((1, 1, 1, 1), 1.0 + 2**-9)
    predicted = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    assert velocity_loss(predicted, truth).item() == 2**-18


def test_the_alignment_loss_is_minus_one_for_equal_directions_whatever_their_lengths():
    features = torch.randn(2, 4, 8)
    lengths = torch.rand(2, 4, 1) + 0.1
    assert alignment_loss(features * lengths, features).item() == pytest.approx(-8, abs=1e-5)
    assert alignment_loss(-features * lengths, features).item() == pytest.approx(8, abs=1e-5)


def test_the_alignment_loss_is_zero_for_right_angles_and_a_sum_over_patches():
    right = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    assert alignment_loss(right, right.flip(-1)).item() == pytest.approx(0, abs=1e-6)
    half = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]])
    assert alignment_loss(half, right).item() == pytest.approx(-1, abs=1e-6)


def test_the_alignment_loss_does_not_pull_the_target():
    predicted = torch.randn(1, 2, 4, requires_grad=True)
    features = torch.randn(1, 2, 4, requires_grad=True)
    alignment_loss(predicted, features).backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().sum() > 0
    assert features.grad is None
