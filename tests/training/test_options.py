"""Every option of a stage's settings changes something; a new one must say here what."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import TinySources, draw, make_collator, run_model
from toy_run import CONFIG, last_checkpoint, log_values, toy_train

from janusflow.config.errors import DataError, TrainingError
from janusflow.config.training import (
    GuardConfig,
    LoopConfig,
    MixtureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Ratio,
)
from janusflow.data.batches.mixture import Kind, mixed_batches
from janusflow.data.samples import Sample
from janusflow.data.sources.base import WeightedSource
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.guard import BAD_STEPS, Guard
from janusflow.training.objectives.janusflow import JanusFlowObjective

EVEN = Ratio(understanding=1.0, generation=1.0, text=1.0)
BASES: dict[type, Any] = {
    LoopConfig: CONFIG,
    OptimizerConfig: CONFIG.optimizer,
    GuardConfig: GuardConfig(not_finite="skip", spike="skip", window=4),
    ObjectiveConfig: ObjectiveConfig(drop_prompt=0.0, alignment="contrastive"),
    MixtureConfig: MixtureConfig(batch_size=6, row_tokens=150, ratios=(EVEN,), max_bad_share=1.0),
}
CHANGES: dict[type, dict[str, Any]] = {
    LoopConfig: {
        "steps": 10,
        "ema": 0.5,
        "log_every": 3,
        "save_every": 5,
        "keep": 1,
        "keep_every": 4,
        "optimizer": OptimizerConfig(),
        "guard": GuardConfig(spike="skip", spike_times=1.01, window=2),
    },
    OptimizerConfig: {
        "learning_rate": 0.04,
        "betas": (0.8, 0.9),
        "weight_decay": 0.5,
        "clip_norm": 0.01,
        "warmup_steps": 0,
        "decay_steps": 0,
    },
    GuardConfig: {
        "not_finite": "stop",
        "spike": "report",
        "spike_times": 40.0,
        "window": 40,
        "max_skips": 1,
    },
    ObjectiveConfig: {
        "flow_weight": 2.0,
        "alignment": "none",
        "alignment_weight": 2.0,
        "temperature": 1.0,
        "text_weight": 2.0,
        "drop_prompt": 1.0,
        "time_mean": 1.0,
        "time_std": 2.0,
    },
    MixtureConfig: {
        "batch_size": 7,
        "row_tokens": 300,
        "ratios": (replace(EVEN, text=3.0),),
    },
}
ELSEWHERE = {
    LoopConfig: {"seed", "micro_batch_size", "parallelism"},
    OptimizerConfig: {"muon"},
    ObjectiveConfig: {"scorer", "score_against"},
    MixtureConfig: {"max_bad_share"},
}
"""What only whole stages, several processes, repeated blocks or a scorer use: test_stage.py,
test_split.py, test_parallelize.py, test_optim.py, test_scoring.py."""


@dataclass(frozen=True)
class Flaky:
    """A source every third row of which is bad, but not the first."""

    source: Any
    name: str = "flaky"

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, row: int, rng: np.random.Generator) -> Sample:
        if row % 3 == 1:
            raise DataError(f"row {row} is bad.")
        return self.source.sample(row, rng)


def a_run(config: LoopConfig, run: Path) -> list[Any]:
    """Weights, average, what was logged and which checkpoints are left."""
    toy_train(run, config)
    saved = last_checkpoint(run)
    state = [saved[name] for name in saved if name.startswith(("parameters.", "ema."))]
    return [[path.name for path in checkpoints(run)], log_values(run), state]


def a_schedule(config: OptimizerConfig, run: Path) -> list[Any]:
    return a_run(replace(CONFIG, optimizer=config), run)


def verdicts(config: GuardConfig, run: Path) -> list[Any]:
    """Of a few usual norms, two that are no number and a spike."""
    guard = Guard(config)
    norms = [1.0, 1.0, 1.0, 1.0, math.nan, math.nan, 30.0, 1.0]
    judged = [
        float(guard.judge(step, {}, torch.tensor(norm))) for step, norm in enumerate(norms, 1)
    ]
    try:
        guard.check(run)
    except TrainingError as error:
        judged.append(str(error))
    return [judged, (run / BAD_STEPS).read_text()]


def losses(config: ObjectiveConfig, sources: TinySources) -> list[Any]:
    collate = make_collator(run_model())
    batch = collate(draw(sources, "understanding", "generation", "text"))
    with torch.no_grad():
        return [float(loss) for loss in JanusFlowObjective(run_model(), config)(batch).values()]


def batches(config: MixtureConfig, sources: TinySources) -> list[Any]:
    by_kind: dict[Kind, list[WeightedSource]] = {
        kind: [WeightedSource(Flaky(each.source), each.weight) for each in weighted]
        for kind, weighted in sources.by_kind.items()
    }
    collate = make_collator(run_model(), row_tokens=config.row_tokens)
    try:
        steps = [*islice(mixed_batches(by_kind, collate, config, seed=0, step=0), 2)]
    except DataError as error:
        return [str(error)]
    return [batch.rows.token_ids.tolist() for (batch,) in steps]


@pytest.fixture
def outcome(sources: TinySources, tmp_path: Path) -> Callable[[Any], str]:
    """What settings lead to, as text."""
    number = count()

    def outcome_of(config: Any) -> str:
        torch.manual_seed(0)
        folder = tmp_path / str(next(number))
        match config:
            case LoopConfig():
                found = a_run(config, folder)
            case OptimizerConfig():
                found = a_schedule(config, folder)
            case GuardConfig():
                found = verdicts(config, folder)
            case ObjectiveConfig():
                found = losses(config, sources)
            case MixtureConfig():
                found = batches(config, sources)
        return str(found).replace(str(folder), "run")

    return outcome_of


@pytest.mark.parametrize("kind", BASES)
def test_every_option_is_listed_here(kind: type):
    assert {field.name for field in fields(kind)} == CHANGES[kind].keys() | ELSEWHERE.get(
        kind, set()
    )


@pytest.mark.parametrize("kind", BASES)
def test_the_same_settings_lead_to_the_same(kind: type, outcome: Callable[[Any], str]):
    assert outcome(BASES[kind]) == outcome(BASES[kind])


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, changes in CHANGES.items() for name in changes]
)
def test_an_option_changes_something(kind: type, name: str, outcome: Callable[[Any], str]):
    changed = replace(BASES[kind], **{name: CHANGES[kind][name]})
    assert outcome(changed) != outcome(BASES[kind])
