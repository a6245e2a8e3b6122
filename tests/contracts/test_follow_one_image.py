"""What docs/follow-one-image.md names is on the way: real calls are followed by function."""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import janusflow

sys.path.insert(0, str(Path(__file__).parents[1]))

from split_run import batches_of, new_objective, run_of
from tiny_run import make_sources

from janusflow.config.training import LoopConfig
from janusflow.training.engine.loop import start, train_step
from janusflow.training.report.log import LogHook

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "janusflow"
PAGE = ROOT / "docs/follow-one-image.md"
NAME = re.compile(r"`([\w/]+\.py)(?::([\w.]+))?`")
"""`folder/file.py`, or `folder/file.py:function`, `:Class` or `:Class.method`."""

Passed = set[tuple[str, str]]
"""Files, as the page writes them, and qualified names of the functions that ran."""


@contextmanager
def followed() -> Iterator[Passed]:
    """What of the package runs in the block, in any thread."""
    passed: Passed = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)):
            passed.add((str(Path(file).relative_to(PACKAGE)), frame.f_code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield passed
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """One image drawn from a plan, one asked about, and one step of training with a checkpoint."""
    folder = tmp_path_factory.mktemp("followed")
    jf = janusflow.load("mini", device="cpu", dtype="float32")
    sources = make_sources(folder / "sources")
    with followed() as passed:
        (image,) = jf.generate("a red circle left of a blue square", seed=0, steps=1, plan="auto")
        image.save(folder / "circle.png")
        jf.ask(str(folder / "circle.png"), "What is left of the square?", max_new_tokens=2)
        run_of(sources, folder / "run", steps=1)
    return passed


@pytest.fixture(scope="module")
def step_passed(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """One training step and its line in the log; everything was set up, and a step made, before."""
    folder = tmp_path_factory.mktemp("step")
    config = LoopConfig(log_every=1)
    state = start(new_objective(), config, run=folder)
    log = LogHook(folder, config)
    batches = batches_of(make_sources(folder / "sources"), 0)
    log.after_step(state, train_step(state, next(batches), config))
    batch = next(batches)
    with followed() as passed:
        log.after_step(state, train_step(state, batch, config))
    return passed


def is_passed(passed: Passed, file: str, name: str | None) -> bool:
    """Whether a function ran; of a class or a file, whether any of its functions did."""
    own = {qualified for path, qualified in passed if path == file}
    if name is None:
        return bool(own)
    return any(f".{qualified}.".find(f".{name}.") >= 0 for qualified in own)


def names(text: str) -> list[tuple[str, str | None]]:
    """Files and functions that a text names."""
    return [(file, name or None) for file, name in NAME.findall(text)]


def test_everything_the_page_names_is_on_the_way(passed: Passed, step_passed: Passed):
    wanted, passed = names(PAGE.read_text(encoding="utf-8")), passed | step_passed
    assert len(wanted) > 20
    missing = [f"{file}:{name}" for file, name in wanted if not is_passed(passed, file, name)]
    assert not missing


def test_a_training_step_passes_through_the_files_that_the_page_names_and_few(
    step_passed: Passed,
):
    """Of training/; the last point of the page is about what goes on around a step."""
    page = PAGE.read_text(encoding="utf-8").partition("## Training")[2]
    told, _, _ = page.partition("4. **Around")
    named = {file for file, _ in names(told) if file.startswith("training/")}
    passed = {file for file, _ in step_passed if file.startswith("training/")}
    assert passed == named
    assert len(passed) <= 8


def test_what_is_not_on_the_way_is_seen(passed: Passed):
    text = (
        "`model/modeling.py`, `inference/pipeline.py:JanusFlow.generate`, "
        "`training/engine/loop.py:train`"
    )
    assert all(is_passed(passed, *each) for each in names(text))
    others = "`inference/pipeline.py:JanusFlow.paint`, `cli/main.py`, `model/modeling.py:nosuch`"
    assert not any(is_passed(passed, *each) for each in names(others))
