"""The three losses against plain loops, and what must not change them."""

import math

import pytest
import torch
from torch import Tensor

from janusflow.training.objectives.janusflow import (
    alignment_loss,
    contrastive_loss,
    response_loss,
    velocity_loss,
)


def example() -> tuple[Tensor, Tensor]:
    """Logits of five tokens to learn, and the tokens."""
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)) * 3
    return logits, torch.tensor([3, 1, 4, 2, 0])


def test_the_response_loss_is_the_surprise_at_every_learnt_token():
    logits, labels = example()
    expected = sum(
        math.log(sum(math.exp(v) for v in row)) - row[label]
        for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True)
    )
    assert response_loss(logits, labels).sum().item() == pytest.approx(expected, abs=1e-5)


def test_a_sure_right_answer_costs_nothing_and_ignorance_costs_the_log_of_the_vocabulary():
    _, labels = example()
    ignorance = response_loss(torch.zeros(5, 6), labels).sum().item()
    assert ignorance == pytest.approx(5 * math.log(6), abs=1e-5)
    sure = 100.0 * torch.nn.functional.one_hot(labels, 6)
    assert response_loss(sure, labels).sum().item() == pytest.approx(0, abs=1e-6)


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


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_contrastive_loss_is_the_surprise_at_finding_the_own_patch(temperature: float):
    """Against loops over images, patches and candidates of the same image."""
    predicted, features = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    expected = 0.0
    for guesses, targets in zip(predicted.double(), features.double(), strict=True):
        for own, guess in enumerate(guesses):
            scores = [
                float(guess @ target / guess.norm() / target.norm()) / temperature
                for target in targets
            ]
            expected += math.log(sum(math.exp(score) for score in scores)) - scores[own]
    loss = contrastive_loss(predicted, features, temperature=temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_contrastive_loss_of_ignorance_is_the_log_of_the_patches():
    """All guesses alike, at right angles to the features: 2 images of 5 patches."""
    features = torch.eye(6)[:5].expand(2, 5, 6)
    predicted = torch.eye(6)[5].expand(2, 5, 6)
    loss = contrastive_loss(predicted, features, temperature=0.1).item()
    assert loss == pytest.approx(10 * math.log(5), rel=1e-5)
    sure = contrastive_loss(features, features, temperature=0.01).item()
    assert sure == pytest.approx(0, abs=1e-5)


def test_the_contrastive_loss_knows_no_other_image_and_does_not_pull_the_target():
    predicted = torch.randn(3, 4, 5, requires_grad=True)
    features = torch.randn(3, 4, 5, requires_grad=True)
    whole = contrastive_loss(predicted, features, temperature=0.2)
    parts = [
        contrastive_loss(predicted[i : i + 1], features[i : i + 1], temperature=0.2)
        for i in range(3)
    ]
    assert whole.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)
    whole.backward()
    assert predicted.grad is not None
    assert features.grad is None
