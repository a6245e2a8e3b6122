"""The run: who is asked what, in which order."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import pytest
from bench_sides import FakeSide

from janusflow.benchmark import running
from janusflow.benchmark.cases import CEILINGS, Answer, Request
from janusflow.benchmark.running import Plan, run
from janusflow.benchmark.worker import OFFICIAL, OURS, serve
from janusflow.config.errors import ConfigError

REQUEST = Request(case="load", folder="nowhere", steps=12, quantize="int8")


class FakeWorker:
    """Serves in this process and notes what it was asked."""

    log: ClassVar[list[tuple[str, Request]]] = []
    alive: ClassVar[list[str]] = []
    most_alive = 0

    def __init__(self, name: str, *, python: str, code: str, scratch: Path) -> None:
        self.name, self.scratch = name, scratch / name
        self.scratch.mkdir(exist_ok=True)

    def __enter__(self) -> "FakeWorker":
        self.alive.append(self.name)
        FakeWorker.most_alive = max(FakeWorker.most_alive, len(self.alive))
        return self

    def __exit__(self, *_: object) -> None:
        self.alive.remove(self.name)

    def ask(self, request: Request) -> Answer:
        self.log.append((self.name, request))
        folder = self.scratch / str(len(self.log))
        folder.mkdir()
        (answer,) = serve(FakeSide(), [json.dumps(asdict(request))], folder)
        return Answer(**json.loads(answer))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    monkeypatch.setattr(running, "Worker", FakeWorker)
    monkeypatch.setattr("janusflow.benchmark.ceilings.ROWS", 8)
    FakeWorker.log.clear()
    FakeWorker.most_alive = 0
    return FakeWorker.log


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "janus" / "janusflow").mkdir(parents=True)
    return tmp_path


def silent(_: str) -> None:
    """Tell nobody."""


def test_sides_take_turns_and_the_other_begins_in_the_next_round(
    log: list[tuple[str, Request]], checkout: Path
):
    plan = Plan(request=REQUEST, cases=("velocity",), repeats=2, official=checkout)
    measured = run(plan, weight_bytes=1, tell=silent)
    asked = [side for side, request in log if request.case != CEILINGS]
    assert asked == 3 * [OFFICIAL, OURS] + 3 * [OURS, OFFICIAL]
    assert FakeWorker.most_alive == 2
    assert len(measured.answers["velocity, batch 1", OURS]) == 2
    assert measured.differences["velocity, batch 1"].is_equal


def test_where_memory_is_short_one_process_lives_at_a_time(
    log: list[tuple[str, Request]], checkout: Path
):
    plan = Plan(request=REQUEST, cases=("velocity",), repeats=1, official=checkout)
    run(plan, weight_bytes=2**60, tell=silent)
    assert FakeWorker.most_alive == 1
    assert [side for side, _ in log] == [OFFICIAL] * 3 + [OURS] * 4


def test_only_ours_is_quantized_and_only_quick_asks_ours_for_something_else(checkout: Path):
    plan = Plan(request=REQUEST, official=checkout)
    for request in plan.requests:
        ours, theirs = (plan.request_of(side, request) for side in (OURS, OFFICIAL))
        assert (ours.quantize, theirs.quantize) == ("int8", None)
        if request.case == "quick":
            assert (ours.steps, ours.solver) == (2, "midpoint")
        else:
            assert replace(ours, quantize=None) == theirs


def test_without_a_checkout_ours_is_measured_alone(log: list[tuple[str, Request]]):
    plan = Plan(request=REQUEST, cases=("load", "ask"), images=(1, 2), repeats=1)
    measured = run(plan, weight_bytes=1, tell=silent)
    assert {side for side, _ in log} == {OURS}
    assert set(measured.ceilings) == {"flops_per_second", "bytes_per_second"}
    assert [r.label for r in plan.requests] == ["first", "ask, images 1", "ask, images 2"]


@pytest.mark.parametrize(
    ("cases", "made"),
    [(("load",), []), (("load", "first"), ["first"]), (("ask",), ["first", "ask, images 1"])],
)
def test_what_loading_put_off_is_done_before_anything_else_is_measured(
    cases: tuple[str, ...], made: list[str]
):
    assert [r.label for r in Plan(request=REQUEST, cases=cases).requests] == made


def test_a_measurement_is_made_once_more_to_warm_up(log: list[tuple[str, Request]]):
    run(
        Plan(request=REQUEST, cases=("velocity",), repeats=1, warm_up=True),
        weight_bytes=1,
        tell=silent,
    )
    asked = ["load", "first", "velocity", "velocity", CEILINGS]
    assert [request.case for _, request in log] == asked


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cases": ("paint",)}, "'paint'"),
        ({"repeats": 0}, "repeats=0"),
        ({"official": Path("/nowhere")}, "/nowhere"),
    ],
)
def test_what_cannot_be_run_is_refused(wrong: dict, told: str):
    with pytest.raises(ConfigError, match=told):
        Plan(request=REQUEST, **wrong)
