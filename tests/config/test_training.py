"""Settings of the loop: what makes no sense is refused, shares change when they are told to."""

from typing import Any

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.training import (
    GuardConfig,
    LoopConfig,
    MixtureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Ratio,
)

NAN, INF = float("nan"), float("inf")


def shares(until: int | None = None, **changed: float) -> Ratio:
    return Ratio(**{"understanding": 1.0, "generation": 1.0, "text": 0.0} | changed, until=until)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *[(LoopConfig, name, 0) for name in ("steps", "log_every", "save_every", "keep")],
        (LoopConfig, "seed", -1),
        *[(LoopConfig, "ema", value) for value in (-0.1, 1.0, 1.5, NAN)],
        *[(OptimizerConfig, "learning_rate", value) for value in (0.0, -1e-4, NAN, INF)],
        *[(OptimizerConfig, "betas", value) for value in ((0.9, 1.0), (-0.1, 0.9))],
        *[(OptimizerConfig, "weight_decay", value) for value in (-0.1, NAN)],
        *[(OptimizerConfig, "clip_norm", value) for value in (0.0, -1.0, NAN)],
        *[(OptimizerConfig, name, -1) for name in ("warmup_steps", "decay_steps")],
        *[(ObjectiveConfig, "drop_prompt", value) for value in (-0.1, 1.1, NAN)],
        *[
            (ObjectiveConfig, name, value)
            for name in ("flow_weight", "alignment_weight", "text_weight", "time_std")
            for value in (-0.1, NAN)
        ],
        (MixtureConfig, "batch_size", 0),
        *[(GuardConfig, name, 0) for name in ("window", "max_skips")],
        *[(GuardConfig, "spike_times", value) for value in (1.0, 0.0, NAN)],
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(kind: Any, name: str, value: Any):
    with pytest.raises(ConfigError, match=rf"{name}=.*must be"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scorer": "pair"}, "scorer=pair but alignment=repa"),
        ({"alignment": "score", "score_against": "prompt"}, "scorer=null"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
    ],
)
def test_settings_of_the_alignment_that_contradict_each_other_are_refused(
    settings: dict[str, Any], told: str
):
    with pytest.raises(ConfigError, match=told):
        ObjectiveConfig(**settings)


def test_the_ends_of_the_ranges_are_allowed():
    LoopConfig(steps=1, ema=0.0, log_every=1, save_every=1, keep=1)
    OptimizerConfig(warmup_steps=0, decay_steps=0, weight_decay=0.0, betas=(0.0, 0.0))
    ObjectiveConfig(drop_prompt=0.0, alignment_weight=0.0, time_std=0.0)
    ObjectiveConfig(drop_prompt=1.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"understanding": -1.0},
        {"text": NAN},
        {"generation": INF},
        {"understanding": 0.0, "generation": 0.0},
    ],
)
def test_shares_that_cannot_be_drawn_are_refused(changed: dict[str, float]):
    with pytest.raises(ConfigError, match="shares"):
        shares(**changed)


@pytest.mark.parametrize(
    ("untils", "told"),
    [
        ((), "last must have no `until`"),
        ((5,), "last must have no `until`"),
        ((None, 5), "last must have no `until`"),
        ((None, None), "never be used"),
        ((5, 5, None), "never be used"),
        ((5, 3, None), "never be used"),
        ((0, None), "never be used"),
    ],
)
def test_ratios_that_leave_steps_unclear_are_refused(untils: tuple[int | None, ...], told: str):
    with pytest.raises(ConfigError, match=told):
        MixtureConfig(ratios=tuple(shares(until) for until in untils))


def test_defaults_are_the_papers_stage_1():
    """Table 1: rate 1e-4 constant, betas 0.9 and 0.95, clipping 1, warm-up 2000, EMA 0.99."""
    optimizer = OptimizerConfig()
    assert (optimizer.learning_rate, optimizer.betas) == (1e-4, (0.9, 0.95))
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.0, 1.0)
    assert (optimizer.warmup(LoopConfig().steps), optimizer.decay_steps) == (2000, 0)
    assert (LoopConfig().steps, LoopConfig().ema) == (10_000, 0.99)
    assert MixtureConfig().batch_size == 512
    assert ObjectiveConfig().drop_prompt == 0.1
