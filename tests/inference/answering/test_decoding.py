"""How tokens are chosen: sampling rules, settings of each row, numbers that are none, waits."""

from math import nan
from typing import Any

import pytest
import torch

from janusflow.config.errors import ConfigError
from janusflow.inference.answering.decoding import (
    NOT_FINITE,
    AnsweringSettings,
    choose_tokens,
    nucleus,
)

GREEDY = AnsweringSettings()


def choose(logits: torch.Tensor, *settings: AnsweringSettings) -> list[int]:
    """Row i drawn from seed i."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(logits))]
    return choose_tokens(logits, settings, generators)


def test_sampling_follows_the_softmax_of_the_logits_over_temperature():
    """40,000 draws: a frequency's standard error is below 0.0025; four of them are allowed."""
    logits = torch.tensor([[1.0, 0.0, -1.0]]).expand(40_000, 3)
    generator, settings = torch.Generator().manual_seed(0), AnsweringSettings(temperature=0.5)
    drawn = choose_tokens(logits, [settings] * len(logits), [generator] * len(logits))
    frequency = torch.bincount(torch.tensor(drawn), minlength=3) / len(drawn)
    expected = torch.tensor([2.0, 0.0, -2.0]).softmax(0)
    torch.testing.assert_close(frequency, expected, atol=0.01, rtol=0)


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    probabilities = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).expand(3, 4)
    kept = nucleus(probabilities, top_p=torch.tensor([[0.7], [1e-9], [1.0]]))
    torch.testing.assert_close(kept[0], torch.tensor([0.0, 0.5, 0.0, 0.25]))
    assert kept[1].count_nonzero() == 1
    assert kept[2].equal(probabilities[2])


def test_rows_with_other_settings_choose_as_if_alone():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    settings = [
        GREEDY,
        AnsweringSettings(temperature=1.5),
        AnsweringSettings(temperature=0.7, top_p=0.6),
        GREEDY,
    ]
    together = choose(logits, *settings)
    for row, each in enumerate(settings):
        generator = torch.Generator().manual_seed(row)
        assert choose_tokens(logits[row : row + 1], [each], [generator]) == together[row : row + 1]
    assert together[0] == int(logits[0].argmax())


@pytest.mark.parametrize("settings", [GREEDY, AnsweringSettings(temperature=1.0, top_p=0.9)])
@pytest.mark.parametrize("wrong", [nan, torch.inf])
def test_a_row_without_finite_logits_has_no_token_and_the_others_have_theirs(
    settings: AnsweringSettings, wrong: float
):
    logits = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    expected = choose(logits, *[settings] * 3)
    logits[1, 7] = wrong
    assert choose(logits, *[settings] * 3) == [expected[0], NOT_FINITE, expected[2]]
    logits[0, 3] = -torch.inf  # a token that must not come is no fault
    assert choose(logits, *[settings] * 3)[0] >= 0


@pytest.mark.parametrize(
    ("settings", "waits"),
    [
        ([GREEDY] * 3, ["tolist"]),
        ([AnsweringSettings(temperature=1.0)] * 3, ["cpu"]),
        ([GREEDY, AnsweringSettings(temperature=1.0, top_p=0.5), GREEDY], ["cpu"]),
    ],
)
def test_the_device_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, settings: list[AnsweringSettings], waits: list[str]
):
    seen: list[str] = []
    for name in ("tolist", "cpu"):
        real = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, *, name: str = name, real: Any = real) -> Any:
            seen.append(name)
            return real(tensor)

        monkeypatch.setattr(torch.Tensor, name, counted)
    choose(torch.randn(3, 20), *settings)
    assert seen == waits


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.5),
        ("temperature", nan),
        ("top_p", 0.0),
        ("top_p", nan),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: Any):
    with pytest.raises(ConfigError, match=name):
        AnsweringSettings(**{name: value})
