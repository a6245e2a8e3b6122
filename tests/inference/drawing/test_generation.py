"""What a call refuses, what it says, and what it leaves behind."""

import gc
import hashlib
import json
import logging
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from same_images import difference
from tiny_model import tiny_janusflow

from janusflow.config.errors import ConfigError, NotFiniteError, PromptError
from janusflow.flow import SOLVERS
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.interpolation import interpolate
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini import knowledge

PROMPT = "a red circle"
RED = Image.new("RGB", (40, 40), "red")
LONG = "red " * 3000


def test_a_deleted_pipeline_frees_its_weights_at_once():
    """No cycle holds them until the collector comes, not even after a choice of the best."""
    jf = tiny_janusflow()
    jf.generate(PROMPT, steps=1, best_of=2)
    model, weight = weakref.ref(jf.model), weakref.ref(next(jf.vae.parameters()))
    gc.collect()
    gc.disable()
    try:
        del jf
        assert (model(), weight()) == (None, None)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "call",
    [
        {"prompt": LONG},
        {"prompt": [PROMPT, LONG]},
        {"prompt": PROMPT, "negative_prompt": LONG},
        {"prompt": PROMPT, "init_image": RED, "invert": LONG},
    ],
)
def test_words_longer_than_the_context_are_refused_before_any_work(
    jf: JanusFlow, call: dict[str, Any], llm_count: Any
):
    context = jf.model.config.llm_config.max_position_embeddings
    with pytest.raises(PromptError, match=rf"takes \d+ tokens .* context is {context}") as refusal:
        jf.generate(**call, steps=1)
    assert "\n" not in str(refusal.value)
    assert llm_count.calls == 0


def test_they_are_refused_between_two_prompts_and_in_a_scheduler(jf: JanusFlow, llm_count: Any):
    with pytest.raises(PromptError, match="context is"):
        interpolate(jf, (PROMPT, LONG), (1, 2), frames=2, settings=DrawingSettings(steps=1))
    scheduler = StepScheduler(jf)
    handle = scheduler.submit_drawing(LONG, settings=DrawingSettings(steps=1))
    scheduler.run_until_idle()
    with pytest.raises(PromptError, match="context is"):
        handle.result(0.0)
    assert llm_count.calls == 0


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("num_inference_steps", "it is steps here"),
        ("guidance_scale", "it is guidance here"),
        ("num_images_per_prompt", "it is num_images here"),
        ("generator", "it is seed here"),
        ("callback_on_step_end", "it is on_step here"),
        ("output_type", "PIL images"),
        ("latents", "seed"),
        ("height", "one size"),
        ("image", "it is init_image here"),
        ("gridd", "use grid"),
        ("quality", "leave it out"),
    ],
)
def test_an_argument_of_another_library_is_refused_with_its_name_here(
    jf: JanusFlow, name: str, advice: str
):
    with pytest.raises(ConfigError, match=f"jf.generate has no argument {name}: .*{advice}"):
        jf.generate(PROMPT, **{name: 1})


def test_a_list_of_seeds_has_one_for_each_image(jf: JanusFlow):
    drawn = jf.generate([PROMPT, "별"], steps=1, seed=[7, 3])
    assert [image.info["seed"] for image in drawn] == [7, 3]
    (again,) = jf.generate("별", steps=1, seed=3)
    assert difference(again, drawn[1]) <= 1
    with pytest.raises(ConfigError, match="2 seeds for 3 images"):
        jf.generate(PROMPT, num_images=3, seed=[1, 2])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"seed": "7"}, "seed='7': wanted a whole number"),
    ({"seed": 1.5}, "seed=1.5"),
    ({"seed": [1, "2"], "num_images": 2}, "seed='2'"),
    ({"seed": [1], "num_images": 2}, "1 seeds for 2 images"),
    ({"steps": 2.5}, "steps=2.5: wanted a whole number"),
    ({"steps": "30"}, "steps='30'"),
    ({"best_of": None}, "best_of=None"),
    ({"shift": "wide"}, "shift='wide'"),
    ({"guidance": None}, "guidance=None is no weight"),
    ({"guidance": "strong"}, "guidance='strong'"),
    ({"prompt": [1]}, "prompt=1"),
]


@pytest.mark.slow
def test_arguments_of_the_wrong_type_are_refused_in_one_line(tiny_folder: Path):
    """In a process of its own: here, annotations are checked before the call is made."""
    script = f"""
import json, numpy, janusflow
jf = janusflow.load({str(tiny_folder)!r}, device="cpu")
told = []
for wrong in json.loads({json.dumps([wrong for wrong, _ in WRONG])!r}):
    try:
        jf.generate(**{{"prompt": "x", "steps": 1, **wrong}})
        told.append("nothing")
    except janusflow.config.errors.JanusFlowError as error:
        told.append(str(error))
(image,) = jf.generate("x", steps=numpy.int64(1), seed=numpy.int32(3), guidance=numpy.float32(2))
print(json.dumps([told, image.info["seed"], image.info["steps"]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    told, seed, steps = json.loads(done.stdout)
    assert (seed, steps) == (3, 1)
    for (_, wanted), line in zip(WRONG, told, strict=True):
        assert wanted in line
        assert "\n" not in line


# ---- numbers that are none ----------------------------------------------------------------------


@pytest.fixture
def broken() -> JanusFlow:
    """A model one of whose weights is no number."""
    jf = tiny_janusflow()
    with torch.no_grad():
        next(jf.model.generation_decoder.parameters()).view(-1)[0] = torch.nan
    return jf


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_is_not_finite_becomes_no_image(broken: JanusFlow, solver: str):
    with pytest.raises(NotFiniteError, match="is not finite") as refusal:
        broken.generate(PROMPT, steps=2, solver=solver, seed=5)
    assert "\n" not in str(refusal.value)
    if solver != "dopri5":
        assert "'a red circle' with seed 5" in str(refusal.value)


def test_pixels_that_are_not_finite_become_no_image():
    jf = tiny_janusflow()
    with torch.no_grad():
        next(jf.vae.decoder.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(NotFiniteError, match="the decoding of 'a red circle' with seed 0"):
        jf.generate(PROMPT, steps=1, seed=0)


def test_in_a_scheduler_only_the_image_that_is_not_finite_fails(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    velocity = jf.model.velocity

    def first_row_is_none(x_t: torch.Tensor, *rest: Any) -> torch.Tensor:
        found = velocity(x_t, *rest).clone()
        found[0] = torch.nan
        return found

    monkeypatch.setattr(jf.model, "velocity", first_row_is_none)
    scheduler = StepScheduler(jf)
    settings = DrawingSettings(steps=2, guidance=1.0)
    bad, good = (scheduler.submit_drawing(PROMPT, seed=s, settings=settings) for s in (1, 2))
    scheduler.run_until_idle()
    with pytest.raises(NotFiniteError, match="seed 1"):
        bad.result(0.0)
    assert good.result(0.0)[0].info["seed"] == 2


# ---- what is kept -------------------------------------------------------------------------------


def test_an_image_saved_by_pillow_says_all_that_draws_it_again(jf: JanusFlow, tmp_path: Path):
    mask = Image.new("L", (64, 64), 255)
    (image,) = jf.generate(
        PROMPT, steps=2, seed=1, init_image=RED, mask=mask, strength=0.5, negative_prompt="blue"
    )
    image.copy().save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as opened:
        record = record_of(opened)
        parameters = opened.info["parameters"]
    assert record == record_of(image)
    assert record is not None
    assert record.init_image == hashlib.sha256(RED.tobytes()).hexdigest()
    assert record.mask == hashlib.sha256(mask.convert("RGB").tobytes()).hexdigest()
    assert (record.device, record.dtype, record.strength) == ("cpu", "float32", 0.5)
    lines = parameters.split("\n")
    assert lines[:2] == [PROMPT, "Negative prompt: blue"]
    assert lines[2].startswith("Steps: 2, Sampler: Euler, CFG scale: 2.0, Seed: 1, Size: 64x64, Mo")


def test_other_formats_and_a_record_of_ones_own_are_left_to_pillow(jf: JanusFlow, tmp_path: Path):
    (image,) = jf.generate(PROMPT, steps=1, seed=1)
    image.save(tmp_path / "x.jpg", quality=90)
    image.save(tmp_path / "x.webp")
    image.save(tmp_path / "x.png", pnginfo=None)
    with Image.open(tmp_path / "x.png") as opened:
        assert record_of(opened) is None


def test_an_inverted_image_remembers_what_it_was_said_to_show(jf: JanusFlow):
    (image,) = jf.generate(PROMPT, steps=1, init_image=RED, invert="a blue star")
    assert image.info["invert"] == "a blue star"


# ---- what a small model knows -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "strange"),
    [
        ("a red dragon", "dragon"),
        ("빨간 용", "용"),
        ("a red circle", None),
        ("노란 별 두 개", None),
        ("Two orange stars left of a heart.", None),
    ],
)
def test_a_prompt_beyond_a_small_model_is_drawn_with_one_line(
    jf: JanusFlow,
    prompt: str,
    strange: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(jf, "knowledge", knowledge)
    with caplog.at_level(logging.WARNING, logger="janusflow"):
        assert len(jf.generate(prompt, steps=1)) == 1
    assert len(caplog.messages) == (strange is not None)
    for line in caplog.messages:
        assert f"'{strange}'" in line
        assert "\n" not in line
