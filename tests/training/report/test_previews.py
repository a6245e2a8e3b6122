"""Samples show the averaged weights, come when they are due and change nothing that is learnt."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from tiny_run import VAE, TinySources, run_model, run_processor

from janusflow.config.errors import ConfigError, ImageError
from janusflow.config.learning.log import LogConfig, SampleQuestion
from janusflow.config.training import LoopConfig, ObjectiveConfig
from janusflow.inference.previews import draw_and_answer
from janusflow.interop.load import filled_model
from janusflow.training.engine.loop import StepReport, TrainState, start
from janusflow.training.engine.optim import Ema
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.report.previews import StageSamples, contact_sheet, first_prompts

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


class Shown:
    """A tracker that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, str, str]] = []

    def log(self, step: int, values: Any) -> None: ...

    def show(self, step: int, name: str, image: Image.Image, *, caption: str) -> None:
        self.shown.append((step, name, caption))

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(**VAE)


@pytest.fixture
def config(tmp_path: Path) -> LogConfig:
    Image.new("RGB", (8, 8)).save(tmp_path / "seen.png")
    return LogConfig(
        samples_every=2,
        prompts=("red", "green", "blue"),
        questions=(SampleQuestion(image=tmp_path / "seen.png", question="What?"),),
    )


def report(step: int) -> StepReport:
    zero = torch.tensor(0.0)
    return StepReport(
        step=step, losses={}, grad_norm=zero, learning_rate=0.0, batch_stats={"samples": 1}
    )


def a_state(run: Path) -> TrainState:
    objective = JanusFlowObjective(run_model(), ObjectiveConfig())
    state = start(objective, LoopConfig(ema=0.9), run=run)
    assert isinstance(state.ema, Ema)
    for shadow in state.ema.shadow.values():
        shadow.fill_(0.5)
    return state


def stage_samples(config: LogConfig, sampler: Any, vae: AutoencoderKL, **more: Any) -> StageSamples:
    build = partial(filled_model, run_model().config, device="cpu")
    settings = {"processor": run_processor(), "build": build}
    return StageSamples(config, sampler, vae=vae, **settings, **more)


def test_samples_come_when_due_from_the_average_and_leave_the_weights_as_they_were(
    config: LogConfig, tmp_path: Path, vae: AutoencoderKL
):
    seen = []

    def sampler(model: Any, processor: Any, vae: Any, told: LogConfig) -> Any:
        assert told is config
        seen.append(model.understanding_aligner.weight.unique().tolist())
        return [Image.new("RGB", (4, 4), colour) for colour in COLOURS], ["a cat"]

    state, tracker = a_state(tmp_path), Shown()
    before = {name: value.clone() for name, value in state.objective.state_dict().items()}
    hook = stage_samples(config, sampler, vae, trackers=(tracker,))
    for step in range(1, 6):
        hook.after_step(state, report(step))
    assert seen == [[0.5], [0.5]]
    for name, value in state.objective.state_dict().items():
        assert torch.equal(value, before[name]), name
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["prompts"] == ["red", "green", "blue"]
    asked = {"image": str(tmp_path / "seen.png"), "question": "What?", "answer": "a cat"}
    assert lines[1]["answers"] == [asked]
    sheet = Image.open(tmp_path / lines[1]["sheet"])
    assert sheet.size == (8, 8)
    assert [sheet.getpixel(place) for place in ((0, 0), (4, 0), (0, 4))] == list(COLOURS)
    assert tracker.shown == [
        (step, name, caption)
        for step in (2, 4)
        for name, caption in (("drawings", "red | green | blue"), ("answer 0", "What? a cat"))
    ]


def test_a_resumed_run_writes_no_sample_twice(config: LogConfig, tmp_path: Path, vae: Any):
    def sampler(*_: Any) -> Any:
        return [], ["yes"]

    for steps in (range(1, 7), range(5, 9)):
        hook = stage_samples(config, sampler, vae)
        for step in steps:
            hook.after_step(a_state(tmp_path), report(step))
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert "sheet" not in lines[0]


def test_a_missing_image_is_named_before_anything_is_trained(vae: AutoencoderKL):
    asked = SampleQuestion(image=Path("nosuch.png"), question="What?")
    config = LogConfig(samples_every=1, questions=(asked,))
    with pytest.raises(ImageError, match=r"nosuch\.png"):
        stage_samples(config, draw_and_answer, vae)


def test_samples_need_something_to_draw_or_to_ask(vae: AutoencoderKL):
    config = LogConfig(samples_every=3)
    with pytest.raises(ConfigError, match="samples_every=3 without anything to draw or to ask"):
        stage_samples(config, draw_and_answer, vae)


def test_by_default_the_first_prompts_of_the_run_are_drawn(sources: TinySources):
    """Twelve scenes in an endless shuffle: the first four of it, the same every time."""
    by_kind = sources.by_kind["generation"]
    prompts = first_prompts(by_kind, seed=3)
    assert prompts == first_prompts(by_kind, seed=3) != first_prompts(by_kind, seed=4)
    assert len(set(prompts)) == len(prompts) == 4
    assert first_prompts([], seed=3) == ()


@pytest.mark.slow
def test_the_same_weights_draw_and_answer_the_same_whatever_the_random_state(
    config: LogConfig, vae: AutoencoderKL
):
    model = run_model()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        images, answers = draw_and_answer(model, run_processor(), vae, config)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(([image.tobytes() for image in images], answers))
    assert found[0] == found[1]
    assert len(set(found[0][0])) == 3
    assert len(found[0][1]) == 1


@pytest.mark.parametrize(("number", "size"), [(1, (3, 2)), (2, (6, 2)), (5, (9, 4)), (9, (9, 6))])
def test_a_contact_sheet_is_about_as_wide_as_it_is_high(number: int, size: tuple[int, int]):
    assert contact_sheet([Image.new("RGB", (3, 2))] * number).size == size
