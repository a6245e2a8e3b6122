"""Settings of preference learning: what does not go together is refused by name."""

from typing import Any

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.learning.preference import PreferenceConfig, RewardConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": "dopri5"}, "solver=dopri5 must be one with fixed steps"),
        ({"images_per_prompt": 1}, "images_per_prompt=1 must be 2 or more"),
        ({"batch_size": 0}, "batch_size=0 must be 1 to 1152"),
        ({"batch_size": 49, "method": "dpo"}, "batch_size=49 must be 1 to 48, what a round of dpo"),
        ({"beta": 0.0}, r"beta=0.0 must be above 0"),
        ({"kl_weight": -1.0}, r"kl_weight=-1.0 must be 0 or more"),
        ({"winner_weight": 0.1}, r"winner_weight=0.1 must be 0 without method=dpo"),
        ({"planned": 1.5}, r"planned=1.5 must be in \[0, 1\]"),
        ({"method": "distill"}, "planned=0.0 must be above 0 with method=distill"),
        ({"old_decay": (0.9, 0.1, 0.5)}, "old_decay=.* must be first, rise, most"),
        ({"rewards": ()}, r"rewards=\[\]: wanted different ones"),
        ({"rewards": (RewardConfig(name="a", weight=0.0),)}, "at least one of them with a weight"),
        ({"rewards": (RewardConfig(name="a"),) * 2}, r"rewards=\['a', 'a'\]: wanted different"),
        ({"prompts_per_round": 0}, "prompts_per_round=0 must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        PreferenceConfig(**changes)


def test_the_drawing_policy_follows_by_its_schedule():
    """DiffusionNFT's two: a slow rise from on-policy, and a flat start."""
    slow = PreferenceConfig(old_decay=(0.0, 0.001, 0.5))
    assert [slow.decay(i) for i in (0, 100, 500, 900)] == [0.0, 0.1, 0.5, 0.5]
    flat = PreferenceConfig(old_decay=(-75 * 0.0075, 0.0075, 0.999))
    assert [flat.decay(i) for i in (0, 75)] == [0.0, pytest.approx(0.0, abs=1e-9)]
    assert flat.decay(175) == pytest.approx(0.75)
    assert flat.decay(1000) == 0.999
    offline = PreferenceConfig(old_decay=(1.0, 0.0, 1.0))
    assert [offline.decay(i) for i in (0, 9)] == [1.0, 1.0]
