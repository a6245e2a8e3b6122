"""An error, wherever it appears, is that of the requests it concerns; others get their results."""

from concurrent.futures import CancelledError
from typing import Any

import pytest
from same_images import difference

from janusflow.config.errors import ClosedError
from janusflow.inference.answering import answers
from janusflow.inference.answering.answers import AnswerBatch
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.image_batcher import ImageBatcher
from janusflow.inference.batching.prompt_reader import PromptReader
from janusflow.inference.batching.requests import Handle
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.prompt import PrefixCache

QUICK = DrawingSettings(steps=3, guidance=1.0, plan="never")
LENGTHS = {"a": 3, "b": 8, "c": 5}
MEMORY = "CUDA out of memory (injected)"


@pytest.fixture
def endless(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """Its answers are as long as they may be."""
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    return jf


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, nth: int) -> None:
    """The nth call from now runs out of memory."""
    real, calls = getattr(owner, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == nth:
            raise RuntimeError(MEMORY)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


def ask(scheduler: StepScheduler, name: str, **chosen: Any) -> Handle[str]:
    settings = AnsweringSettings(max_new_tokens=LENGTHS[name], temperature=1.0)
    messages = [question_message([], f"What is {name * LENGTHS[name]}?")]
    return scheduler.submit_question(messages, settings=settings, seed=LENGTHS[name], **chosen)


def alone(jf: JanusFlow, name: str) -> Any:
    number = LENGTHS[name]
    question = f"What is {name * number}?"
    return jf.ask(None, question, max_new_tokens=number, temperature=1.0, seed=number)


def check_drawing(jf: JanusFlow, drawn: Handle[Any]) -> None:
    (image,) = drawn.result(60.0)
    (expected,) = jf.generate("a star", seed=1, steps=3, guidance=1.0, plan="never")
    assert difference(image, expected) <= 1


@pytest.mark.parametrize(
    ("owner", "name", "nth", "concerned"),
    [
        (answers, "require_context", 1, "a"),
        (answers, "require_context", 3, "c"),
        (answers, "join", 1, "b"),
        (answers, "join", 2, "c"),
        (answers, "choose_tokens", 1, "ab"),
        (PromptReader, "read_conversation", 1, "a"),
        (answers, "read_tokens", 1, "ab"),
        (answers, "read_tokens", 2, "abc"),
        (answers, "read_tokens", 3, "bc"),
        (JanusFlow, "prepare_inputs", 2, "b"),
    ],
)
def test_an_error_fails_the_answers_it_concerns_and_no_others(
    endless: JanusFlow,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    nth: int,
    concerned: str,
):
    """c joins a and b after their first tokens; a leaves first."""
    expected = {each: alone(endless, each) for each in LENGTHS}
    scheduler = StepScheduler(endless)
    with monkeypatch.context() as patched:
        fail_once(patched, owner, name, nth)
        handles = {each: ask(scheduler, each) for each in "ab"}
        drawn = scheduler.submit_drawing("a star", seed=1, settings=QUICK)
        scheduler.step()
        handles["c"] = ask(scheduler, "c")
        scheduler.run_until_idle()
    for each, handle in handles.items():
        if each in concerned:
            with pytest.raises(RuntimeError, match="injected"):
                handle.result(0.0)
        else:
            assert handle.result(0.0) == expected[each]
    check_drawing(endless, drawn)
    later = ask(scheduler, "b")
    scheduler.run_until_idle()
    assert later.result(0.0) == expected["b"]


def test_answers_go_on_when_there_is_no_memory_to_let_others_go(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    expected = {each: alone(endless, each) for each in LENGTHS}
    scheduler = StepScheduler(endless)
    with monkeypatch.context() as patched:
        fail_once(patched, PrefixCache, "select", 1)
        handles = {each: ask(scheduler, each) for each in LENGTHS}
        scheduler.run_until_idle()
    assert {each: handle.result(0.0) for each, handle in handles.items()} == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["require_context", "choose_tokens", "join"])
def test_an_error_while_planning_fails_what_is_planned(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(jf.model.config, "plans", True)
    scheduler = StepScheduler(jf)
    planned = [
        scheduler.submit_drawing("a ring", seed=seed, settings=DrawingSettings(steps=2))
        for seed in (1, 2)
    ]
    drawn = scheduler.submit_drawing("a star", seed=1, settings=QUICK)
    with monkeypatch.context() as patched:
        fail_once(patched, answers, name, 1)
        scheduler.run_until_idle()
    failed = [handle for handle in planned if handle.exception() is not None]
    assert len(failed) == (2 if name == "choose_tokens" else 1)
    check_drawing(jf, drawn)


def test_callbacks_that_fail_concern_their_request_alone(endless: JanusFlow):
    def broken(_: object) -> None:
        raise ZeroDivisionError

    expected = alone(endless, "b")
    scheduler = StepScheduler(endless)
    wrong = ask(scheduler, "a", on_piece=broken)
    beside = ask(scheduler, "b")
    drawn_wrong = scheduler.submit_drawing("a star", settings=QUICK, on_step=broken)
    drawn = scheduler.submit_drawing("a star", seed=1, settings=QUICK)
    scheduler.run_until_idle()
    for handle in (wrong, drawn_wrong):
        with pytest.raises(ZeroDivisionError):
            handle.result(0.0)
    assert beside.result(0.0) == expected
    check_drawing(endless, drawn)


@pytest.mark.parametrize("owner", [ImageBatcher, AnswerBatch])
def test_the_thread_steps_on_after_an_error_that_nobody_expected(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch, owner: type
):
    expected = alone(endless, "b")
    scheduler = StepScheduler(endless)
    with monkeypatch.context() as patched, scheduler.running():
        fail_once(patched, owner, "step" if owner is ImageBatcher else "choose", 1)
        first = scheduler.submit_drawing("a star", seed=1, settings=QUICK)
        ask(scheduler, "a").exception(60.0)
        first.exception(60.0)
        later = ask(scheduler, "b")
        drawn = scheduler.submit_drawing("a star", seed=1, settings=QUICK)
        assert later.result(60.0) == expected
        drawn.result(60.0)
    check_drawing(endless, drawn)


def test_if_the_thread_ends_everybody_is_told_why(endless: JanusFlow):
    def leave(_: str) -> None:
        raise SystemExit("enough")

    scheduler = StepScheduler(endless)
    with scheduler.running():
        endlessly = DrawingSettings(steps=10_000, plan="never")
        drawn = scheduler.submit_drawing("a star", settings=endlessly)
        asked = ask(scheduler, "a", on_piece=leave)
        for handle in (drawn, asked):
            with pytest.raises(SystemExit):
                handle.result(60.0)
        with pytest.raises(ClosedError, match=r"ended after SystemExit\('enough'\)"):
            ask(scheduler, "b")
    assert scheduler._thread is not None
    assert not scheduler._thread.is_alive()


def test_what_is_submitted_before_running_is_served_and_after_its_end_refused(endless: JanusFlow):
    expected = alone(endless, "a")
    scheduler = StepScheduler(endless)
    early = ask(scheduler, "a")
    with scheduler.running():
        assert early.result(60.0) == expected
        left = scheduler.submit_drawing("a star", settings=DrawingSettings(steps=10_000))
        with pytest.raises(ClosedError, match="called before"), scheduler.running():
            pass
    with pytest.raises(CancelledError):
        left.result(0.0)
    for submit in (lambda: ask(scheduler, "a"), lambda: scheduler.submit_drawing("a star")):
        with pytest.raises(ClosedError, match="the scheduler has ended"):
            submit()
    assert not scheduler.step()
