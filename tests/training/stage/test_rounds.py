"""Rounds: drawn by the old policy, judged, learnt; the same however a run is cut up."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_rounds
import torch
from forked import in_processes
from PIL import Image
from tiny_rounds import (
    SETTINGS,
    preference_objective,
    rounds_of,
    take_part,
    train_rounds,
    weights_of,
)
from tiny_run import TinySources, make_sources
from torch import Tensor

from janusflow.config.errors import ConfigError, TrainingError
from janusflow.config.learning.log import LogConfig
from janusflow.config.learning.preference import PreferenceConfig, RewardConfig
from janusflow.config.training import LoopConfig
from janusflow.data.sources.base import WeightedSource
from janusflow.data.sources.redraw import Redrawn
from janusflow.inference.rollouts import OwnRollouts
from janusflow.training.engine.checkpoint import checkpoints, read_checkpoint
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.stage.rounds import Round, best_and_worst


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> TinySources:
    return make_sources(tmp_path_factory.mktemp("scenes"))


class Killed:
    """Stops the run after a step, as a user would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: TrainState, report: StepReport) -> None:
        if report.step == self.step:
            raise KeyboardInterrupt


class Counting(OwnRollouts):
    """Notes what is drawn and judged."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.drawn: list[Tensor] = []

    def draw(self, *args, **kwargs):  # noqa: ANN002, ANN003
        self.calls["draw"] += 1
        found = super().draw(*args, **kwargs)
        self.drawn.append(found[0])
        return found

    def judge(self, *args, **kwargs):  # noqa: ANN002, ANN003
        self.calls["judge"] += 1
        return super().judge(*args, **kwargs)


def lines_of(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name != "seconds"} for line in lines]


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert list(a) == list(b)
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


@pytest.mark.parametrize("method", ["nft", "dpo", "distill"])
def test_a_run_killed_within_a_round_ends_as_one_that_was_not(
    sources: TinySources, tmp_path: Path, method: str
):
    """Saved at steps 2 and 4; rounds begin at 0, 3 and 6, so both lie within one."""
    changes = {"method": method, "planned": 0.5}
    whole = train_rounds(sources, tmp_path / "whole", steps=7, **changes)
    for step in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            train_rounds(sources, tmp_path / "run", steps=7, hooks=(Killed(step),), **changes)
    resumed = train_rounds(sources, tmp_path / "run", steps=7, **changes)
    assert_same(weights_of(whole), weights_of(resumed))
    saved = [read_checkpoint(checkpoints(tmp_path / run)[-1]) for run in ("whole", "run")]
    assert_same(*saved)
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "run")
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [0, 3, 6]


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 0], ids=["a copy each", "one copy between them"])
@pytest.mark.parametrize("method", ["nft", "dpo"])
def test_two_processes_learn_what_one_learns(
    sources: TinySources, tmp_path: Path, shards: int, method: str
):
    changes = {"method": method, "batch_size": 2}
    alone = weights_of(train_rounds(sources, tmp_path / "alone", steps=4, **changes))
    out, parallelism = tmp_path / "out.pt", json.dumps({"hsdp_shard_size": shards})
    common = (sources.folder, out)
    ended = in_processes(
        take_part, [(*common, rank, 2, parallelism, json.dumps(changes)) for rank in range(2)]
    )
    assert [each.code for each in ended] == [0, 0], "".join(each.stderr for each in ended)
    found = torch.load(out)
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        # Adam divides tiny gradients by their own size, so rounding shows.
        torch.testing.assert_close(found[name], value, atol=2e-3, rtol=0, msg=name)
    moved = max(float((alone[n] - alone[f"old.{n}"]).abs().max()) for n in found if "old." not in n)
    assert moved > 5e-3


def test_a_round_is_drawn_once_and_its_policy_follows_between_rounds_only(
    sources: TinySources, tmp_path: Path
):
    policies: list[Tensor] = []

    class Note:
        def after_step(self, state: TrainState, report: StepReport) -> None:
            old = state.objective.kept()
            policies.append(torch.cat([each.flatten() for each in old.values()]))

    rollouts = Counting()
    train_rounds(
        sources, tmp_path, steps=5, hooks=(Note(),), rollouts=rollouts, old_decay=(0.0, 0.0, 0.0)
    )
    assert rollouts.calls == {"draw": 4, "judge": 4}  # two rounds of two prompts
    assert [bool(torch.equal(a, b)) for a, b in pairwise(policies)] == [*(True, True, False, True)]
    drawn = torch.stack(rollouts.drawn)
    assert drawn.shape == (4, 4, 4, 8, 8)
    assert len({tuple(each.flatten()[:3].tolist()) for each in drawn.flatten(0, 1)}) == 16


def test_a_policy_that_never_follows_draws_by_the_first_weights(
    sources: TinySources, tmp_path: Path
):
    state = train_rounds(sources, tmp_path, steps=4, old_decay=(1.0, 0.0, 1.0))
    kept = state.objective.kept()
    first = preference_objective(PreferenceConfig(**SETTINGS))
    first.begin()
    assert_same(kept, first.kept())


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"method": "nft", "advantage_clip": 1.0, "beta": 0.3}, {"method": "dpo"}, {"method": "sft"}],
    ids=["nft", "dpo", "sft"],
)
def test_rewards_rise(sources: TinySources, tmp_path: Path, changes: dict[str, Any]):
    """A tiny model of random weights learns to draw redder images than it did."""
    train_rounds(
        sources,
        tmp_path,
        steps=24,
        images_per_prompt=8,
        prompts_per_round=2,
        steps_per_round=2,
        kl_weight=0.0,
        **changes,
    )
    means = [line["reward.tiny_rounds:redness"] for line in lines_of(tmp_path)]
    assert sum(means[-3:]) / 3 > sum(means[:3]) / 3 + 3, means


def test_every_step_learns_its_share_with_times_of_its_own(sources: TinySources, tmp_path: Path):
    """Over a round every drawing comes up equally often, in another order every round."""
    config = PreferenceConfig(**{**SETTINGS, "steps_per_round": 4, "batch_size": 4})
    objective = preference_objective(config)
    objective.begin()
    rounds = rounds_of(
        sources, objective, run=tmp_path, loop=LoopConfig(micro_batch_size=2, steps=9)
    )
    drawn = rounds.draw(0)
    seen, seeds = Counter[int](), set[int]()
    latents = drawn.latents.flatten(0, 1)
    for step in range(4):
        batches = rounds.of_step(drawn, step)
        assert [len(batch) for batch in batches] == [2, 2]
        for batch in batches:
            assert batch.drawings is not None
            assert batch.drawings.latents is not None
            seeds |= {*batch.drawings.seeds}
            for latent in batch.drawings.latents:
                seen[int((latents - latent).abs().sum((1, 2, 3)).argmin())] += 1
    assert seen == dict.fromkeys(range(8), 2)
    assert len(seeds) == 16


def test_the_mixture_is_learnt_beside_if_asked(sources: TinySources, tmp_path: Path):
    losses: list[set[str]] = []

    class Note:
        def after_step(self, state: TrainState, report: StepReport) -> None:
            losses.append({*report.losses})
            assert report.batch_stats["samples"] == 8 + 4 * ("ce_answer" in report.losses)

    train_rounds(sources, tmp_path / "alone", steps=1, hooks=(Note(),))
    train_rounds(sources, tmp_path / "beside", steps=1, hooks=(Note(),), with_mixture=True)
    assert losses == [{"nft", "kl"}, {"nft", "kl", "ce_answer", "flow_mse"}]


def test_rewards_of_weight_zero_are_told_and_not_learnt(sources: TinySources, tmp_path: Path):
    def rewards(*weights: float) -> tuple[RewardConfig, ...]:
        names = ("tiny_rounds:redness", "likelihood")
        return tuple(
            RewardConfig(name=name, weight=weight)
            for name, weight in zip(names, weights, strict=False)
        )

    one = train_rounds(sources, tmp_path / "one", steps=1, rewards=rewards(1.0))
    both = train_rounds(sources, tmp_path / "both", steps=1, rewards=rewards(2.0, 0.0))
    assert lines_of(tmp_path / "both")[0]["reward.likelihood"] < 0
    assert "reward.likelihood" not in lines_of(tmp_path / "one")[0]
    # Twice the weight is twice the advantage, so another step; the other reward adds none.
    assert one.rows_bad == both.rows_bad == 0
    assert (
        lines_of(tmp_path / "one")[0]["reward.tiny_rounds:redness"]
        == lines_of(tmp_path / "both")[0]["reward.tiny_rounds:redness"]
    )


def test_images_of_a_rounds_first_prompt_are_kept_as_often_as_samples(
    sources: TinySources, tmp_path: Path
):
    train_rounds(sources, tmp_path, steps=7, log=LogConfig(samples_every=6))
    # Rounds begin at 0, 3 and 6.
    assert sorted(path.name for path in (tmp_path / "rounds").iterdir()) == [
        *("00000.png", "00002.png")
    ]
    with Image.open(tmp_path / "rounds" / "00002.png") as sheet:
        assert sheet.size == (128, 128)


def test_units_are_the_best_and_the_worst_of_each_group():
    assert best_and_worst(3, [0.2, 0.9, 0.9, 0.1], "dpo") == [(3, 1, 1.0), (3, 3, 0.0)]
    assert best_and_worst(3, [0.2, 0.9, 0.9, 0.1], "sft") == [(3, 1, 1.0)]
    assert best_and_worst(0, [0.5, 0.5], "dpo") == [(0, 0, 0.5), (0, 0, 0.5)]
    advantages = torch.tensor([[-5.0, 5.0], [0.0, 0.0]])
    drawn = Round(
        drawn_from=[["a"] * 2, ["b"] * 2],
        prompts=["a", "b"],
        latents=torch.zeros(2, 2, 1, 1, 1),
        rewards={},
        advantages=advantages,
    )
    nft = PreferenceConfig(**{**SETTINGS, "method": "nft"})
    assert drawn.units(nft) == [[(0, 0, 0.0)], [(0, 1, 1.0)], [(1, 0, 0.5)], [(1, 1, 0.5)]]
    assert drawn.numbers() == {"groups_alike": 0.5}


def test_a_reward_that_is_no_number_stops_the_run(
    sources: TinySources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):

    monkeypatch.setattr(
        tiny_rounds, "redness", lambda _jf, _prompt, images: [float("nan")] * len(images)
    )
    with pytest.raises(TrainingError, match="reward tiny_rounds:redness is nan for an image of '"):
        train_rounds(sources, tmp_path, steps=1)


def test_prompts_must_be_words(sources: TinySources, tmp_path: Path):
    objective = preference_objective(PreferenceConfig(**SETTINGS))
    rounds = rounds_of(sources, objective, run=tmp_path, loop=LoopConfig())
    with pytest.raises(ConfigError, match=r"without data\.generation"):
        replace(rounds, prompts=())
    ((scenes, weight),) = rounds.prompts
    seen = Redrawn(source=scenes, words="Describe it.", image_tag="<image_placeholder>")
    with pytest.raises(ConfigError, match="it needs prompts in words"):
        replace(rounds, prompts=[WeightedSource(seen, weight)]).draw(0)
