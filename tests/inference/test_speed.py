"""What is measured of a model: which runs, their medians, and a block's time and memory."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.speed import (
    STATUS,
    OurModel,
    SpeedSettings,
    Stopwatch,
    measure,
    summarise,
)

needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="reads Linux's /proc")


class Counting:
    """Answers in as many laps as it has been asked before."""

    number = 0

    def load(self, watch: Stopwatch, *, device: str, folder: str) -> None:
        assert (device, folder) == ("cpu", "here")
        with watch:
            pass

    def ask(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        self.number += 1
        with watch:
            pass
        watch.seconds, watch.laps = float(self.number), [self.number, 3.0 * self.number]
        return np.array(self.number)


def results(repeats: int) -> Iterator[tuple]:
    runs = [SpeedSettings(case="ask")]
    return measure(Counting(), runs, repeats=repeats, device="cpu", folder="here")


def test_the_first_of_several_runs_warms_up_and_medians_are_of_the_others():
    (load, _, nothing), (label, times, output) = results(4)
    assert (load, label, nothing, output) == ("load", "ask, images 1", None, 4)
    assert (times["first_seconds"], times["seconds"]) == (1.0, 3.0)
    assert (times["first_token_seconds"], times["token_seconds"]) == (3.0, 6.0)


def test_a_single_run_counts():
    _, (_, times, _) = results(1)
    assert times["first_seconds"] == times["seconds"] == 1.0


def test_processor_time_does_not_count_waiting():
    with Stopwatch("cpu") as watch:
        time.sleep(0.1)
    assert watch.seconds >= 0.1
    assert watch.cpu_seconds < 0.05


@needs_proc
def test_peak_memory_is_that_of_the_block_alone():
    size = 2**27
    with Stopwatch("cpu") as large:
        torch.ones(size, dtype=torch.uint8).sum()
    with Stopwatch("cpu") as small:
        pass
    assert large.peak_bytes - small.peak_bytes > 0.9 * size
    assert summarise([large, small])["peak_gb"] == large.peak_bytes / 1e9


def test_our_model_is_measured_by_what_generate_and_ask_run(jf: JanusFlow):
    ours, watch = OurModel(), Stopwatch("cpu")
    ours.jf = jf
    settings = SpeedSettings(steps=1, batch=2, new_tokens=3)
    drawn = jf.generate(settings.prompt, num_images=2, steps=1, seed=0, plan="never")
    assert np.array_equal(ours.image(settings, watch), np.stack([np.asarray(x) for x in drawn]))
    asked = Stopwatch("cpu")
    assert len(ours.ask(settings, asked)) == len(asked.laps) <= 3
