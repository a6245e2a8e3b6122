"""Trackers get what the log gets; an absent package is one line that names the extra."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.config.learning.log import LogConfig, TrackerName
from janusflow.training.report.trackers import open_trackers

SETTINGS = {"task": "stage", "loop": {"steps": 3}}


class Recorder(ModuleType):
    """The part of wandb's interface that trackio has too; writes down what is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []

    def init(self, **settings: Any) -> None:
        self.calls.append(("init", settings))

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.calls.append(("log", (step, values)))

    def finish(self) -> None:
        self.calls.append(("finish", None))

    class Image:  # noqa: D106
        def __init__(self, image: Image.Image, caption: str | None = None) -> None:
            self.image, self.caption = image, caption


@pytest.fixture
def recorder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    module = Recorder(request.param)
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


@pytest.mark.parametrize("recorder", ["wandb", "trackio"], indirect=True)
def test_wandb_and_trackio_get_numbers_and_images_and_an_end(recorder: Recorder, tmp_path: Path):
    config = LogConfig(to=(recorder.__name__,), project="mine")
    image = Image.new("RGB", (4, 4))
    with open_trackers(config, tmp_path / "run", SETTINGS) as (tracker,):
        tracker.log(10, {"flow": 0.5})
        tracker.show(10, "drawings", image, caption="a cat")
    (init, settings), (_, numbers), (_, (step, shown)), end = recorder.calls
    assert init == "init"
    assert (settings["project"], settings["name"]) == ("mine", "run")
    assert (settings["config"], settings["resume"]) == (SETTINGS, "allow")
    assert numbers == (10, {"flow": 0.5})
    assert step == 10
    assert (shown["drawings"].image, shown["drawings"].caption) == (image, "a cat")
    assert end == ("finish", None)


@pytest.mark.parametrize("recorder", ["wandb"], indirect=True)
def test_a_run_that_is_started_again_goes_on_as_the_same_wandb_run(
    recorder: Recorder, tmp_path: Path
):
    for folder in ("one", "one", "two"):
        with open_trackers(LogConfig(to=("wandb",)), tmp_path / folder, SETTINGS):
            pass
    first, again, other = (call["id"] for name, call in recorder.calls if name == "init")
    assert first == again != other


@pytest.mark.parametrize("recorder", ["trackio"], indirect=True)
def test_a_tracker_is_closed_when_the_run_breaks_off(recorder: Recorder, tmp_path: Path):
    with (
        pytest.raises(KeyboardInterrupt),
        open_trackers(LogConfig(to=("trackio",)), tmp_path, SETTINGS),
    ):
        raise KeyboardInterrupt
    assert recorder.calls[-1] == ("finish", None)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_an_absent_package_is_one_line_that_names_the_extra(
    name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    missing = "torch.utils.tensorboard" if name == "tensorboard" else name
    monkeypatch.setitem(sys.modules, missing, None)
    with (
        pytest.raises(ConfigError, match=rf"{name} is not .*pip install 'janusflow\[{name}\]'"),
        open_trackers(LogConfig(to=(name,)), tmp_path, SETTINGS),
    ):
        pass


def test_nothing_is_asked_for_by_default(tmp_path: Path):
    with open_trackers(LogConfig(), tmp_path, SETTINGS) as trackers:
        assert list(trackers) == []


def test_only_the_first_process_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("janusflow.training.report.trackers.is_main_process", lambda: False)
    with open_trackers(LogConfig(to=("wandb",)), tmp_path, SETTINGS) as trackers:
        assert list(trackers) == []


def test_tensorboard_has_every_point_once_also_after_a_resume(tmp_path: Path):
    """Steps 3 and 4 are lost with the run that is killed after its checkpoint of step 2."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = LogConfig(to=("tensorboard",))
    for steps, value in (((1, 2, 3, 4), 1.0), ((3, 4, 5), 2.0)):
        with open_trackers(config, tmp_path, SETTINGS) as (tracker,):
            for step in steps:
                tracker.log(step, {"flow": value * step})
            tracker.show(steps[-1], "drawings", Image.new("RGB", (4, 4), "red"), caption="a cat")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("flow")]
    assert points == [(1, 1.0), (2, 2.0), (3, 6.0), (4, 8.0), (5, 10.0)]
    assert [(event.step, event.width) for event in events.Images("drawings")] == [(5, 4)]
    assert events.Tags()["tensors"] == ["drawings/text_summary"]
