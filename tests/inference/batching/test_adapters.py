"""Requests with different adapters in one scheduler: each gets what it would get alone."""

from pathlib import Path

import pytest
from adapter_folders import write_adapter
from PIL import Image
from tiny_model import tiny_janusflow, tiny_model

from janusflow.config.errors import ConfigError
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

SETTINGS = DrawingSettings(steps=3)
SHORT = AnsweringSettings(max_new_tokens=6)
SETS = [{}, {"one": 1.0}, {"two": 1.0}, {"one": 0.5, "two": -1.0}]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> JanusFlow:
    """Two adapters, both off; tests must leave it so."""
    root, jf = tmp_path_factory.mktemp("adapters"), tiny_janusflow()
    for seed, name in enumerate(("one", "two")):
        folder: Path = write_adapter(
            root / name, tiny_model(), seed=seed, on=("llm", "generation", "understanding")
        )
        jf.load_adapter(folder, weight=0.0)
    return jf


@pytest.fixture
def image() -> Image.Image:
    return Image.new("RGB", (64, 64), (200, 30, 90))


def test_each_request_gets_what_it_gets_alone_to_the_bit(adapted: JanusFlow, image: Image.Image):
    """Images and answers under four sets at once, three of each set sharing forwards."""
    asked = [question_message([image], "What?")]
    scheduler = StepScheduler(adapted, max_images=20, max_questions=20)
    drawings = [
        scheduler.submit_drawing("a star", seed=seed, settings=SETTINGS, adapters=on)
        for seed in range(2)
        for on in SETS
    ]
    answers = [scheduler.submit_question(asked, settings=SHORT, seed=0, adapters=on) for on in SETS]
    calls = [scheduler.submit_call(lambda: adapted.adapters, adapters=on) for on in SETS]
    scheduler.run_until_idle()
    assert adapted.adapters == {"one": 0.0, "two": 0.0}
    told, pixels = list[str](), set[bytes]()
    for number, on in enumerate(SETS):
        adapted.set_adapters(on)
        assert calls[number].result() == adapted.adapters
        alone = StepScheduler(adapted)
        wanted = [alone.submit_drawing("a star", seed=seed, settings=SETTINGS) for seed in range(2)]
        answer = alone.submit_question(asked, settings=SHORT, seed=0)
        alone.run_until_idle()
        assert alone.counts.adapter_switches == 0
        for seed in range(2):
            (found,), (own,) = drawings[4 * seed + number].result(), wanted[seed].result()
            assert found.tobytes() == own.tobytes()
            pixels.add(found.tobytes())
            record, other = record_of(found), record_of(own)
            assert record == other
        assert answers[number].token_ids == answer.token_ids
        told.append(answers[number].result())
    adapted.set_adapters({})
    assert len(pixels) == 8
    assert len(set(told)) > 1


def test_what_is_read_under_one_set_is_not_found_under_another(
    adapted: JanusFlow, image: Image.Image
):
    """Neither prompts, nor conversations, nor images; under the same one all of them are."""
    asked = [question_message([image], "What?")]
    scheduler = StepScheduler(adapted)

    def read(on: dict[str, float]) -> tuple[int, int, bytes, list[int]]:
        before = scheduler.counts
        drawing = scheduler.submit_drawing("a star", seed=1, settings=SETTINGS, adapters=on)
        answer = scheduler.submit_question(asked, settings=SHORT, seed=0, adapters=on)
        scheduler.run_until_idle()
        after = scheduler.counts
        tokens = after.prompt_tokens_read - before.prompt_tokens_read
        images = after.images_encoded - before.images_encoded
        return tokens, images, drawing.result()[0].tobytes(), answer.token_ids

    first = read({"one": 1.0})
    assert first[0] > 0
    assert first[1] == 1
    other = read({"two": 1.0})
    assert other[:2] == first[:2]
    assert other[2] != first[2]
    assert read({"one": 1.0}) == (0, 0, *first[2:])


def test_there_are_as_many_switches_as_needed_and_as_many_forwards(adapted: JanusFlow):
    """Two sets side by side: two forwards a step, and one switch a step after the first."""
    scheduler = StepScheduler(adapted)
    for on in ({"one": 1.0}, {"two": 1.0}, {"one": 1.0}):
        scheduler.submit_drawing("a star", settings=SETTINGS, adapters=on)
    scheduler.run_until_idle()
    counts = scheduler.counts
    assert counts.steps == 2 * SETTINGS.steps
    assert counts.finished_images == 3
    assert counts.adapter_switches <= 2 * SETTINGS.steps + 4
    same = StepScheduler(adapted)
    for _ in range(3):
        same.submit_drawing("a star", settings=SETTINGS, adapters={"one": 1.0})
    same.run_until_idle()
    assert same.counts.steps == SETTINGS.steps
    assert same.counts.adapter_switches == 2  # there, and back


def test_without_adapters_nothing_is_switched(jf: JanusFlow):
    scheduler = StepScheduler(jf)
    scheduler.submit_drawing("a star", settings=SETTINGS, adapters={})
    scheduler.run_until_idle()
    assert scheduler.counts.adapter_switches == 0


def test_wrong_adapters_are_refused_when_they_are_asked_for(adapted: JanusFlow):
    scheduler = StepScheduler(adapted)
    with pytest.raises(ConfigError, match="'three' is not loaded: there is one, two"):
        scheduler.submit_drawing("a star", adapters={"three": 1.0})
    with pytest.raises(ConfigError, match="weight nan"):
        scheduler.submit_question([question_message([], "What?")], adapters={"one": float("nan")})
    assert scheduler.num_waiting == 0


def test_merged_adapters_are_drawn_with_and_no_others_are_taken(adapted: JanusFlow):
    adapted.set_adapters("one")
    adapted.merge_adapters()
    try:
        scheduler = StepScheduler(adapted)
        drawing = scheduler.submit_drawing("a star", seed=1, settings=SETTINGS)
        with pytest.raises(ConfigError, match="merged"):
            scheduler.submit_drawing("a star", adapters={"two": 1.0})
        scheduler.run_until_idle()
        (alone,) = adapted.generate("a star", seed=1, steps=3)
        assert drawing.result()[0].tobytes() == alone.tobytes()
    finally:
        adapted.unmerge_adapters()
        adapted.set_adapters({})
