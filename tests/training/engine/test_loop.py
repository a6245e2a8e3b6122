"""The loop: an interrupted run ends exactly as one that was never interrupted."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import in_processes
from tiny_run import TinySources
from torch import Tensor
from toy_run import (
    CONFIG,
    ToyObjective,
    killed_while_saving,
    last_checkpoint,
    log_values,
    resumed_as_one_of_two,
    toy_batches,
    toy_train,
)

from janusflow.config.errors import CheckpointError, TrainingError
from janusflow.config.training import (
    LoopConfig,
    MixtureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Ratio,
)
from janusflow.data.batches.mixture import mixed_batches
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.loop import StepReport, TrainState, train
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.report.log import LogHook
from janusflow.training.stage.freezing import PARTS, train_only


class Interrupt:
    """Stops the run after a step, as a user would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: TrainState, report: StepReport) -> None:
        if report.step == self.step:
            raise KeyboardInterrupt


def assert_same(a: Any, b: Any) -> None:
    """Equal to the last bit, through dicts and lists."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted")
    toy_train(run)
    return run


@pytest.mark.parametrize("stops", [[1], [3], [4], [5], [8], [10], [11], [2, 6, 9], [5, 5]])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    uninterrupted: Path, tmp_path: Path, stops: list[int]
):
    for step in stops:
        with pytest.raises(KeyboardInterrupt):
            toy_train(tmp_path, hooks=(Interrupt(step),))
    toy_train(tmp_path)
    assert_same(last_checkpoint(tmp_path), last_checkpoint(uninterrupted))
    assert log_values(tmp_path) == log_values(uninterrupted)


def test_a_run_killed_while_it_saves_ends_like_an_uninterrupted_one(
    uninterrupted: Path, tmp_path: Path
):
    (ended,) = in_processes(killed_while_saving, [(tmp_path, 2)])
    assert ended.code == -signal.SIGKILL, ended.stderr
    assert [path.name for path in checkpoints(tmp_path)] == ["00000004"]
    assert [path.name for path in (tmp_path / "checkpoints/00000008").iterdir()] == ["__0_0.distcp"]
    toy_train(tmp_path)
    assert_same(last_checkpoint(tmp_path), last_checkpoint(uninterrupted))
    assert log_values(tmp_path) == log_values(uninterrupted)
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["00000008", "00000011"]


@pytest.mark.slow
@pytest.mark.parametrize("muon", [False, True])
def test_janusflow_itself_resumes_to_the_last_bit(
    sources: TinySources, tmp_path: Path, *, muon: bool
):
    from tiny_run import make_collator, run_model

    config = LoopConfig(steps=3, save_every=2, ema=0.9, optimizer=OptimizerConfig(muon=muon))
    ratio = Ratio(understanding=1.0, generation=2.0, text=1.0)
    mixture = MixtureConfig(batch_size=3, ratios=(ratio,))

    def run_to(run: Path, *hooks: Interrupt) -> None:
        model = run_model()
        train_only(model, list(PARTS))
        draws, collate = sources.by_kind, make_collator(model)
        train(
            JanusFlowObjective(model, ObjectiveConfig()),
            lambda step: mixed_batches(draws, collate, mixture, seed=0, step=step),
            config,
            run=run,
            hooks=hooks,
        )

    run_to(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_to(tmp_path / "broken", Interrupt(3))
    run_to(tmp_path / "broken")
    assert_same(last_checkpoint(tmp_path / "broken"), last_checkpoint(tmp_path / "whole"))


def test_two_processes_go_on_from_the_checkpoint_that_the_first_one_sees(
    uninterrupted: Path, tmp_path: Path
):
    early, late = checkpoints(uninterrupted)
    for name, seen in (("run", (early, late)), ("stale", (early,))):
        for each in seen:
            shutil.copytree(each, tmp_path / name / "checkpoints" / each.name)
    arguments = [(tmp_path, rank) for rank in range(2)]
    ended = in_processes(resumed_as_one_of_two, arguments)
    assert [each.stdout for each in ended] == ["11\n", "11\n"]
    (tmp_path / "meeting").unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/checkpoints").mkdir()
    (tmp_path / "run/checkpoints/00000004.pt").touch()
    for each in in_processes(resumed_as_one_of_two, arguments):
        assert each.code == 1
        assert "written by an earlier version" in each.stderr


def test_a_finished_run_does_nothing_more(uninterrupted: Path):
    before = last_checkpoint(uninterrupted)
    state = toy_train(uninterrupted)
    assert state.step == CONFIG.steps
    assert state.samples_seen == 2 * CONFIG.steps
    assert state.rows_bad == CONFIG.steps
    assert_same(last_checkpoint(uninterrupted), before)


def test_the_loop_is_adamw_on_clipped_gradients(tmp_path: Path):
    """Against PyTorch's own calls, written out, with the rates of warm-up and decay as numbers."""
    rates = [0.05 / 3, 0.10 / 3, *[0.05] * 6, 0.0375, 0.025, 0.0125]
    rates[8:] = [0.05 * left / 4 for left in (3, 2, 1)]
    objective = ToyObjective()
    parameters = list(objective.layer.parameters())
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=0.0)
    batches = toy_batches(0)
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (batch,) = next(batches)
        losses = objective(batch)
        (losses["fit"] / 6 + losses["size"]).backward()
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        for parameter in parameters:
            parameter.grad *= min(1.0, 1.0 / norm.item())
        optimizer.step()
    trained = toy_train(tmp_path).objective.get_submodule("layer")
    for ours, theirs in zip(trained.parameters(), parameters, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_frozen_parameters_are_neither_moved_nor_saved(uninterrupted: Path):
    saved = last_checkpoint(uninterrupted)
    trained = {"layer.weight", "layer.bias"}
    moments = {f"optimizer.{n}.{m}" for n in trained for m in ("step", "exp_avg", "exp_avg_sq")}
    weights = {f"{kind}.{name}" for name in trained for kind in ("parameters", "ema")}
    assert set(saved) == {"step", "samples_seen", "rows_bad", "guard.norms"} | weights | moments


def test_only_the_newest_checkpoints_are_kept(uninterrupted: Path):
    assert [p.name for p in checkpoints(uninterrupted)] == ["00000008", "00000011"]


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp"])
@pytest.mark.parametrize(
    "damage", [b"", b"not a checkpoint", bytes(64), None], ids=["empty", "text", "zeros", "short"]
)
def test_a_damaged_newest_checkpoint_is_one_clear_line(
    uninterrupted: Path, tmp_path: Path, damage: bytes | None, file: str
):
    with pytest.raises(KeyboardInterrupt):
        toy_train(tmp_path, hooks=(Interrupt(11),))
    newest = checkpoints(tmp_path)[-1]
    whole = (newest / file).read_bytes()
    (newest / file).write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(CheckpointError, match=r"00000008 is not a checkpoint .*delete it") as told:
        toy_train(tmp_path)
    assert "\n" not in str(told.value)
    shutil.rmtree(newest)
    toy_train(tmp_path)
    assert_same(last_checkpoint(tmp_path), last_checkpoint(uninterrupted))


@pytest.mark.parametrize(("log_every", "save_every"), [(1, 100), (5, 100), (4, 7), (7, 4)])
def test_a_loss_that_is_no_number_stops_the_run_and_is_never_saved(
    tmp_path: Path, log_every: int, save_every: int
):
    config = LoopConfig(steps=11, log_every=log_every, save_every=save_every)
    log = LogHook(tmp_path, config)
    with pytest.raises(TrainingError, match=r"fit.* not finite at step \d+: .*learning_rate"):
        train(ToyObjective(breaks_at=3), toy_batches, config, run=tmp_path, hooks=(log,))
    assert checkpoints(tmp_path) == []


@pytest.mark.parametrize("log_every", [1, 2, 4])
def test_the_first_step_that_broke_is_named(tmp_path: Path, log_every: int):
    config = replace(CONFIG, log_every=log_every)
    with pytest.raises(TrainingError, match="fit, grad_norm is not finite at step 3:"):
        train(ToyObjective(breaks_at=3), toy_batches, config, run=tmp_path)
