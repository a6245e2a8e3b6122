"""Every feature of drawing and answering on every device there is, in float32 and bfloat16.

On a CPU the model is a tiny one with random weights; elsewhere it is `mini`, and what it gives in
float32 on the CPU is the measure. benchmarks/gpu_check.py runs these on a GPU.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import janusflow
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_model import save_tiny

pytestmark = pytest.mark.gpu

Loader = Callable[..., JanusFlow]
LEVELS = {"float32": 1.0, "bfloat16": 24.0}
"""Of 255, between the mean of an image on the device and on the CPU in float32."""
PROMPTS = ["a red circle", "a large blue star to the left of a yellow heart"]
GREY = Image.new("RGB", (64, 64), (90, 120, 150))
HALF = Image.new("L", (64, 64))
HALF.paste(255, (0, 0, 32, 64))
DRAWN: dict[str, dict[str, Any]] = {
    "euler": {},
    "midpoint": {"solver": "midpoint"},
    "heun": {"solver": "heun", "shift": 2.0},
    "rk4": {"solver": "rk4"},
    "dopri5": {"solver": "dopri5"},
    "no guidance": {"guidance": 1.0},
    "guidance over time": {"guidance": "3@0-0.6", "guidance_rescale": 0.5},
    "negative prompt": {"negative_prompt": "a blue square on the right"},
    "velocity caching": {"reuse": 0.5, "steps": 6, "grid": "cosine"},
    "parity": {"numerics": "parity"},
    "planned": {"plan": "auto"},
    "best of two": {"best_of": 2},
    "initial image": {"init_image": GREY, "strength": 0.6},
    "mask": {"init_image": GREY, "mask": HALF},
    "inversion": {"init_image": GREY, "invert": "", "solver": "heun"},
    "upscaled": {"upscale": "refine:2"},
}


@pytest.fixture(scope="session")
def load_on(device: str, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    """Loads the model of these tests; the same call gives the same one again."""
    name = "mini" if device != "cpu" else save_tiny(tmp_path_factory.mktemp("gpu") / "tiny")
    loaded: dict[tuple[Any, ...], JanusFlow] = {}

    def load(dtype: str, *, where: str = device, **how: Any) -> JanusFlow:
        key = (dtype, where, *sorted(how.items()))
        if key not in loaded:
            loaded[key] = janusflow.load(name, device=where, dtype=dtype, **how)
        return loaded[key]

    return load


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


def apart(images: list[Image.Image], others: list[Image.Image]) -> float:
    """The largest difference of two images, in mean levels of 255."""
    assert [each.size for each in images] == [each.size for each in others]
    return max(
        float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean())
        for a, b in zip(images, others, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("feature", DRAWN)
def test_images_are_those_of_the_cpu(load_on: Loader, dtype: str, feature: str):
    """Two prompts of different length side by side, so one is padded."""
    settings = {"steps": 2, "seed": 5, "plan": "never", **DRAWN[feature]}
    if feature in ("planned", "best of two"):  # other words, other images: finite is all we ask
        images = load_on(dtype).generate(PROMPTS, **settings)
        assert [each.size for each in images] == [(64, 64)] * 2
        assert all(np.asarray(each).std() > 0 for each in images)
        return
    wanted = load_on("float32", where="cpu").generate(PROMPTS, **settings)
    assert apart(load_on(dtype).generate(PROMPTS, **settings), wanted) <= LEVELS[dtype]


def test_padding_and_company_change_no_image(load_on: Loader, dtype: str):
    jf = load_on(dtype)
    together = jf.generate(PROMPTS, num_images=2, steps=2, seed=5, plan="never")
    alone = [
        image
        for i, prompt in enumerate(PROMPTS)
        for image in jf.generate(prompt, num_images=2, steps=2, seed=5 + 2 * i, plan="never")
    ]
    assert apart(together, alone) <= LEVELS[dtype]


def test_answers_are_finite_and_those_of_the_cpu(load_on: Loader, dtype: str):
    """Word by word in float32, where the answer has a largest logit by more than rounding."""
    jf, cpu = load_on(dtype), load_on("float32", where="cpu")
    asked = [[question_message([GREY], "What?")], [question_message([], "Describe the picture.")]]
    answers = jf.answer(asked, max_new_tokens=8)
    assert len(answers) == 2
    if dtype == "float32":
        assert answers == cpu.answer(asked, max_new_tokens=8)
        assert answers[0] == jf.ask(GREY, "What?", max_new_tokens=8)
    drawn = [jf.answer(asked, max_new_tokens=8, temperature=1.0, seed=3) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_requests_at_different_steps_share_forwards(load_on: Loader, dtype: str):
    jf = load_on(dtype)
    scheduler = StepScheduler(jf, max_images=4)
    settings = DrawingSettings(steps=3, plan="never")
    first = scheduler.submit_drawing(PROMPTS[0], seed=1, settings=settings)
    scheduler.step()
    second = scheduler.submit_drawing(PROMPTS[1], seed=2, settings=settings)
    short = AnsweringSettings(max_new_tokens=4)
    answer = scheduler.submit_question([question_message([GREY], "What?")], settings=short)
    scheduler.run_until_idle()
    assert isinstance(answer.result(), str)
    for handle, prompt, seed in ((first, PROMPTS[0], 1), (second, PROMPTS[1], 2)):
        wanted = jf.generate(prompt, seed=seed, steps=3, plan="never")
        assert apart(handle.result(), wanted) <= LEVELS[dtype]


@pytest.mark.parametrize("offload", ["parts", "blocks"])
def test_offloading_changes_nothing(load_on: Loader, dtype: str, offload: str):
    jf, whole = load_on(dtype, offload=offload), load_on(dtype)
    settings = {"steps": 2, "seed": 5, "plan": "never"}
    images = (each.generate(PROMPTS, **settings) for each in (jf, whole))
    assert apart(*images) <= (0.0 if dtype == "float32" else 1.0)
    assert jf.ask(GREY, "What?", max_new_tokens=4) == whole.ask(GREY, "What?", max_new_tokens=4)


def test_compiled_images_are_the_same(load_on: Loader, device: str, dtype: str):
    if device == "cpu":
        pytest.skip("to compile takes a minute on a CPU and is tested in tests/inference")
    settings = {"steps": 2, "seed": 5, "plan": "never"}
    compiled = load_on(dtype, compile=True).generate(PROMPTS, **settings)
    assert apart(compiled, load_on(dtype).generate(PROMPTS, **settings)) <= LEVELS[dtype]
