"""The log: means over the steps since the last line, rates by the clock, no line twice."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_run import ToyObjective, toy_train

from janusflow.config.training import LoopConfig, OptimizerConfig
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.report import log as hooks
from janusflow.training.report.log import LogHook, threads_hint


def report(step: int, loss: float) -> StepReport:
    return StepReport(
        step=step,
        losses={"fit": torch.tensor(loss)},
        grad_norm=torch.tensor(2 * loss),
        learning_rate=step / 10,
        batch_stats={"samples": 6},
    )


def lines_after(hook: LogHook, run: Path, reports: list[StepReport]) -> list[dict[str, float]]:
    objective = ToyObjective()
    optimizer = torch.optim.AdamW(objective.parameters())
    state = TrainState(objective=objective, optimizer=optimizer, ema=None, run=run)
    for each in reports:
        state.samples_seen += each.batch_stats["samples"]
        hook.after_step(state, each)
    return [json.loads(line) for line in hook.path.read_text().splitlines()]


def test_a_line_is_the_mean_since_the_last_one_and_the_last_step_is_never_lost(tmp_path: Path):
    hook = LogHook(tmp_path, LoopConfig(log_every=2, steps=5))
    lines = lines_after(hook, tmp_path, [report(step, float(step)) for step in range(1, 6)])
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert [line["fit"] for line in lines] == [1.5, 3.5, 5.0]
    assert [line["grad_norm"] for line in lines] == [3.0, 7.0, 10.0]
    assert [line["learning_rate"] for line in lines] == [0.2, 0.4, 0.5]
    assert [line["samples"] for line in lines] == [12, 24, 30]


def test_a_run_begins_by_saying_what_the_rate_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hooks, "threads_hint", lambda: "fewer threads")
    LogHook(tmp_path, LoopConfig(steps=20, optimizer=OptimizerConfig(warmup_steps=30)))
    rate, hint = capsys.readouterr().err.splitlines()
    assert rate.startswith(
        "learning rate 0 to 6.67e-05 in 20 steps; loop.optimizer.warmup_steps=30 "
    )
    assert hint == "fewer threads"


@pytest.mark.parametrize(
    ("load", "threads", "is_told"), [(9.0, 2, True), (9.0, 1, False), (1.5, 2, False)]
)
def test_a_busy_cpu_is_told_of_where_fewer_threads_would_help(
    load: float, threads: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
):
    machine = SimpleNamespace(getloadavg=lambda: (load, 0, 0), cpu_count=lambda: 2)
    monkeypatch.setattr(hooks, "os", machine)
    monkeypatch.setattr(hooks.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(hooks.torch.cuda, "is_available", lambda: False)
    assert bool(hint := threads_hint()) == is_told
    assert hint is None or "load 9 on 2 cores" in hint


def test_the_rate_is_samples_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two steps of six samples in four seconds."""
    clock = iter([100.0, 104.0, 106.0])
    # Not time.perf_counter itself, which threads of other tests read, too.
    here = SimpleNamespace(perf_counter=lambda: next(clock), time=time.time)
    monkeypatch.setattr(hooks, "time", here)
    hook = LogHook(tmp_path, LoopConfig(log_every=2, steps=4))
    monkeypatch.setattr(hook, "_bar", NoBar())
    lines = lines_after(hook, tmp_path, [report(step, 1.0) for step in range(1, 5)])
    assert [line["samples_per_second"] for line in lines] == [3.0, 6.0]


class NoBar:
    """tqdm reads the clock too."""

    def update(self) -> None: ...


def test_a_resumed_run_replaces_the_lines_after_its_checkpoint(tmp_path: Path):
    hook = LogHook(tmp_path, LoopConfig(log_every=1, steps=9))
    lines_after(hook, tmp_path, [report(step, 1.0) for step in range(1, 6)])
    with hook.path.open("a") as log:
        log.write('{"step": 6, "fi')  # killed in the middle of a line
    again = LogHook(tmp_path, LoopConfig(log_every=1, steps=9))
    lines = lines_after(again, tmp_path, [report(step, 2.0) for step in range(4, 8)])
    assert [(line["step"], line["fit"]) for line in lines] == [
        *[(step, 1.0) for step in (1, 2, 3)],
        *[(step, 2.0) for step in (4, 5, 6, 7)],
    ]


def test_a_finished_run_keeps_its_log(tmp_path: Path):
    toy_train(tmp_path)
    before = (tmp_path / "log.jsonl").read_text()
    toy_train(tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == before
