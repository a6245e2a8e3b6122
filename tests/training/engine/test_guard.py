"""Steps that went wrong: none reaches the weights unless told so, all processes agree on which."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import in_processes
from toy_run import CONFIG, ToyObjective, last_checkpoint, one_of_two, toy_batches

from janusflow.config.errors import TrainingError
from janusflow.config.training import GuardConfig, LoopConfig, OptimizerConfig
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.guard import BAD_STEPS, Guard
from janusflow.training.engine.loop import StepReport, TrainState, start, train

LONG = LoopConfig(
    steps=16,
    log_every=4,
    save_every=8,
    optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=0),
)


def guarded(config: LoopConfig = LONG, **changes: Any) -> LoopConfig:
    return replace(config, guard=GuardConfig(**{"window": 4} | changes))


class Weights:
    """The layer's weights after every step."""

    def __init__(self) -> None:
        self.seen: dict[int, torch.Tensor] = {}

    def after_step(self, state: TrainState, report: StepReport) -> None:
        self.seen[report.step] = state.objective.get_parameter("layer.weight").detach().clone()


def rows_of(step: int) -> list[dict[str, Any]]:
    rows = [{"kind": "text", "source": "a.jsonl", "row": 10 * step + i} for i in range(6)]
    return [*rows, {"kind": "text", "source": "b.jsonl", "row": 7}]


def run_toy(
    run: Path, config: LoopConfig, *, breaks_at: int, times: float = math.nan
) -> dict[int, torch.Tensor]:
    weights = Weights()
    objective = ToyObjective(breaks_at=breaks_at, times=times)
    train(objective, toy_batches, config, run=run, hooks=(weights,), rows_of=rows_of)
    return weights.seen


def bad_steps(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / BAD_STEPS).read_text().splitlines()]


def test_a_step_that_is_no_number_stops_the_run_names_its_rows_and_is_never_saved(tmp_path: Path):
    with pytest.raises(TrainingError) as told:
        run_toy(tmp_path, guarded(), breaks_at=9)
    message = str(told.value)
    assert "\n" not in message
    assert message.startswith(
        "fit, grad_norm is not finite at step 9: its samples are a.jsonl rows"
    )
    assert "a.jsonl rows 80, 81, 82, 83 and 2 more; b.jsonl rows 7. " in message
    assert f"{tmp_path / BAD_STEPS}" in message
    assert "loop.guard.not_finite=skip" in message
    assert [path.name for path in checkpoints(tmp_path)] == ["00000008"]
    (line,) = bad_steps(tmp_path)
    assert (line["step"], line["fit"], line["grad_norm"]) == (9, "nan", "nan")
    assert line["rows"] == rows_of(8)


def test_a_skipped_step_leaves_weights_and_moments_as_they_were_and_the_run_goes_on(tmp_path: Path):
    weights = run_toy(tmp_path, guarded(not_finite="skip"), breaks_at=9)
    assert torch.equal(weights[9], weights[8])
    moved = [step for step in range(2, 17) if not torch.equal(weights[step], weights[step - 1])]
    assert moved == [step for step in range(2, 17) if step != 9]
    saved = last_checkpoint(tmp_path)
    assert all(tensor.isfinite().all() for tensor in saved.values())
    for name in ("weight", "bias"):
        assert saved[f"optimizer.layer.{name}.step"] == 15
    assert [(line["step"], line["action"]) for line in bad_steps(tmp_path)] == [(9, "skip")]


def test_a_spike_is_told_of_and_taken_skipped_or_stops_the_run_as_the_recipe_says(tmp_path: Path):
    taken = run_toy(tmp_path / "report", guarded(), breaks_at=9, times=1e4)
    unguarded = run_toy(tmp_path / "off", guarded(spike_times=1e9), breaks_at=9, times=1e4)
    skipped = run_toy(tmp_path / "skip", guarded(spike="skip"), breaks_at=9, times=1e4)
    with pytest.raises(TrainingError, match=r"grad_norm=.* is a spike .* at step 9: .*a\.jsonl"):
        run_toy(tmp_path / "stop", guarded(spike="stop"), breaks_at=9, times=1e4)
    assert all(torch.equal(taken[step], unguarded[step]) for step in taken)
    assert torch.equal(skipped[9], skipped[8])
    assert not torch.equal(taken[9], taken[8])
    assert not (tmp_path / "off" / BAD_STEPS).exists()
    for name in ("report", "skip", "stop"):
        assert [(line["step"], line["action"]) for line in bad_steps(tmp_path / name)] == [
            (9, name)
        ]


def judge_all(norms: list[float], **settings: Any) -> list[float]:
    """Whether each of some norms is a spike."""
    guard = Guard(GuardConfig(spike="skip", **settings))
    return [
        float(guard.judge(step, {}, torch.tensor(norm))) for step, norm in enumerate(norms, start=1)
    ]


@pytest.mark.parametrize(
    ("norms", "spikes"),
    [
        ([1.0, 100.0, 1.0, 1.0], [0, 0, 0, 0]),  # less than half of the window is there
        ([1.0, 2.0, 25.0, 1.0], [0, 0, 1, 0]),
        ([1.0, 2.0, 15.0, 1.0], [0, 0, 0, 0]),
        ([1.0, 1.0, 50.0, 50.0, 50.0, 50.0], [0, 0, 1, 1, 1, 0]),  # the new usual
        ([1.0, 1.0, math.nan, 11.0, 9.0], [0, 0, 1, 1, 0]),
        ([1.0, 1.0, math.inf], [0, 0, 1]),
    ],
)
def test_a_spike_is_above_so_many_times_the_median_of_the_window(
    norms: list[float], spikes: list[int]
):
    assert judge_all(norms, window=4, spike_times=10.0) == spikes


def test_a_loss_that_is_no_number_counts_even_if_its_gradient_is_one():
    guard = Guard(GuardConfig())
    assert float(guard.judge(1, {"fit": torch.tensor(math.inf)}, torch.tensor(1.0))) == 1.0


def test_only_so_many_steps_are_skipped_in_a_row(tmp_path: Path):
    guard = Guard(GuardConfig(not_finite="skip", max_skips=2))
    good, bad = torch.tensor(1.0), torch.tensor(math.nan)
    for step, norm in enumerate([bad, bad, good, bad, bad, bad], start=1):
        guard.judge(step, {}, norm)
    with pytest.raises(
        TrainingError, match=r"3 steps skipped .* at step 6: its rows are not known"
    ):
        guard.check(tmp_path)
    assert [line["step"] for line in bad_steps(tmp_path)] == [1, 2, 4, 5, 6]


def test_a_resumed_run_judges_as_an_uninterrupted_one(tmp_path: Path):
    """The norms the median is over are in the checkpoint, and no bad step is written twice."""

    class Interrupt:
        def after_step(self, state: TrainState, report: StepReport) -> None:
            if report.step == 14:
                raise KeyboardInterrupt

    def run_to(run: Path, hooks: tuple[Any, ...] = ()) -> None:
        train(ToyObjective(), toy_batches, config, run=run, hooks=hooks)

    config = guarded(spike_times=1.05, spike="skip", window=6)
    run_to(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_to(tmp_path / "broken", (Interrupt(),))
    run_to(tmp_path / "broken")
    told = bad_steps(tmp_path / "whole")
    assert any(8 < line["step"] < 12 for line in told)
    assert bad_steps(tmp_path / "broken") == told
    ends = [last_checkpoint(tmp_path / run) for run in ("whole", "broken")]
    assert torch.equal(ends[0]["guard.norms"], ends[1]["guard.norms"])
    assert torch.equal(*(end["parameters.layer.weight"] for end in ends))


def test_a_run_goes_on_with_another_window(tmp_path: Path):
    """Its norms begin anew; with the same window they are the checkpoint's."""
    train(ToyObjective(), toy_batches, replace(guarded(), steps=8), run=tmp_path)
    same = start(ToyObjective(), guarded(), run=tmp_path)
    other = start(ToyObjective(), guarded(window=6), run=tmp_path)
    assert same.step == other.step == 8
    assert same.guard.norms.isfinite().all()
    assert other.guard.norms.tolist() == [math.inf] * 6


def run_pair(folder: Path, action: str) -> list[tuple[int, str]]:
    """Exit codes and what was told by two processes, one of which meets a bad batch at step 5."""
    pair = in_processes(one_of_two, [(folder, rank, action) for rank in range(2)])
    return [(each.code, each.stderr) for each in pair]


@pytest.mark.slow
def test_all_processes_stop_at_the_same_step_though_one_alone_had_the_bad_batch(tmp_path: Path):
    for code, told in run_pair(tmp_path, "stop"):
        assert code == 1
        assert "fit, grad_norm is not finite at step 5:" in told.splitlines()[-1]
    assert [line["step"] for line in bad_steps(tmp_path / "run")] == [5]


def test_all_processes_skip_a_step_of_sharded_weights_that_one_alone_found_bad(tmp_path: Path):
    assert [code for code, _ in run_pair(tmp_path, "skip")] == [0, 0]
    saved = last_checkpoint(tmp_path / "run")
    assert saved["step"] == CONFIG.steps
    assert saved["optimizer.layer.weight.step"] == CONFIG.steps - 1
    del saved["guard.norms"]
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_the_toy_run_has_no_bad_step(tmp_path: Path):
    train(ToyObjective(), toy_batches, CONFIG, run=tmp_path)
    assert not (tmp_path / BAD_STEPS).exists()
