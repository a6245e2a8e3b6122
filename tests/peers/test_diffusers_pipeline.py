"""JanusFlowPipeline is one of diffusers' pipelines, and draws what `jf.generate` draws."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image
from release_folder import write_release_folder
from tiny_model import tiny_vae

import janusflow
from janusflow import JanusFlowPipeline
from janusflow.config.errors import CheckpointError, ConfigError, JanusFlowError, PromptError
from janusflow.inference.pipeline import JanusFlow

PROMPT = "a red circle in the top left and a blue star on the right"


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def quiet(pipe: JanusFlowPipeline) -> JanusFlowPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(tiny: JanusFlow) -> JanusFlowPipeline:
    """Around random weights; a test may change its scheduler."""
    return quiet(
        JanusFlowPipeline(tiny.model, tiny.processor, tiny.vae, FlowMatchEulerDiscreteScheduler())
    )


@pytest.fixture(scope="module")
def mini_pipe() -> JanusFlowPipeline:
    return quiet(JanusFlowPipeline.from_pretrained("mini"))


@pytest.mark.slow
def test_its_images_are_those_of_generate(mini: JanusFlow, mini_pipe: JanusFlowPipeline):
    (wanted,) = mini.generate(PROMPT, seed=1, plan="never")
    (found,) = mini_pipe(PROMPT, generator=seeded(1)).images
    assert np.array_equal(levels(found), levels(wanted))


def test_shift_is_that_of_generate(mini: JanusFlow, mini_pipe: JanusFlowPipeline):
    (wanted,) = mini.generate(PROMPT, seed=1, plan="never", steps=6, shift=3.0)
    pipe = JanusFlowPipeline(**{**mini_pipe.components, "scheduler": shifted(3.0)})
    (found,) = quiet(pipe)(PROMPT, generator=seeded(1), num_inference_steps=6).images
    assert np.abs(levels(found) - levels(wanted)).max() <= 1


def shifted(shift: float) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=shift)


@pytest.fixture(scope="module")
def of_heun(mini: JanusFlow) -> Image.Image:
    return mini.generate(PROMPT, seed=1, plan="never", steps=10, solver="heun")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler",
    [
        FlowMatchHeunDiscreteScheduler(),
        UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0
        ),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_other_schedulers_of_flows_come_to_the_same_image(
    of_heun: Image.Image, mini_pipe: JanusFlowPipeline, scheduler: Any
):
    pipe = quiet(JanusFlowPipeline(**{**mini_pipe.components, "scheduler": scheduler}))
    (found,) = pipe(PROMPT, generator=seeded(1), num_inference_steps=10).images
    assert np.abs(levels(found) - levels(of_heun)).mean() < 0.5


def test_several_prompts_and_images_each_are_drawn_prompt_by_prompt(
    tiny: JanusFlow, pipe: JanusFlowPipeline
):
    prompts = ["a red circle", "two blue stars"]
    wanted = tiny.generate(prompts, seed=3, num_images=2, steps=3, negative_prompt="green")
    found = pipe(
        prompts,
        num_inference_steps=3,
        num_images_per_prompt=2,
        negative_prompt="green",
        generator=seeded(3, 4, 5, 6),
    ).images
    furthest = [np.abs(levels(a) - levels(b)).max() for a, b in zip(found, wanted, strict=True)]
    assert max(furthest) <= 1


def test_one_generator_draws_all_noise_in_turn(pipe: JanusFlowPipeline):
    (generator,) = seeded(0)
    noise = torch.randn(2, 4, 8, 8, generator=generator)
    asked = {"num_inference_steps": 2, "num_images_per_prompt": 2, "output_type": "latent"}
    found = pipe("a", generator=seeded(0)[0], **asked).images
    assert torch.equal(found, pipe("a", latents=noise, **asked).images)
    assert found.dtype == torch.float32


def test_output_types_are_the_same_image(pipe: JanusFlowPipeline):
    kinds = {
        kind: pipe("a", num_inference_steps=2, generator=seeded(0), output_type=kind).images
        for kind in ("pil", "np", "pt", "latent")
    }
    assert kinds["pt"].shape == (1, 3, 64, 64)
    assert np.array_equal(kinds["np"], kinds["pt"].permute(0, 2, 3, 1).numpy())
    assert np.array_equal((kinds["np"][0] * 255).round(), np.asarray(kinds["pil"][0]))
    assert kinds["latent"].shape == (1, 4, 8, 8)
    (images,) = pipe("a", num_inference_steps=2, generator=seeded(0), return_dict=False)
    assert np.array_equal(levels(images[0]), levels(kinds["pil"][0]))


def test_a_callback_sees_every_step_and_changes_latents(pipe: JanusFlowPipeline):
    seen = []

    def callback(asked: Any, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        seen.append((asked is pipe, step, float(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 3 else {}

    found = pipe(
        "a", num_inference_steps=4, output_type="latent", callback_on_step_end=callback
    ).images
    assert [step[:2] for step in seen] == [(True, index) for index in range(4)]
    assert [step[2] for step in seen] == pytest.approx([1000.0, 750.0, 500.0, 250.0])
    assert not found.any()


def test_a_callback_ends_the_drawing(pipe: JanusFlowPipeline):
    steps = []

    def callback(asked: Any, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        steps.append((step, list(tensors)))
        asked._interrupt = True
        return {}

    asked = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": []}
    pipe("a", num_inference_steps=4, **asked)
    assert steps == [(0, [])]
    pipe("a", num_inference_steps=4, **asked)
    assert steps == [(0, []), (0, [])]


def test_the_grid_can_be_given(pipe: JanusFlowPipeline):
    asked = {"generator": None, "latents": torch.randn(1, 4, 8, 8), "output_type": "latent"}
    even = pipe("a", num_inference_steps=2, **asked).images
    assert torch.equal(pipe("a", sigmas=[1.0, 0.5], **asked).images, even)
    assert not torch.equal(pipe("a", sigmas=[1.0, 0.9], **asked).images, even)


def test_guidance_one_evaluates_one_branch(pipe: JanusFlowPipeline, monkeypatch: Any):
    rows, velocity = [], pipe.model.velocity

    def counted(x_t: torch.Tensor, *others: Any) -> torch.Tensor:
        rows.append(len(x_t))
        return velocity(x_t, *others)

    monkeypatch.setattr(pipe.model, "velocity", counted)
    pipe("a", num_inference_steps=2, guidance_scale=1.0)
    pipe("a", num_inference_steps=2, guidance_scale=2.0)
    assert rows == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ({"height": 512}, ConfigError, "512"),
        ({"width": 0}, ConfigError, "0x64|64x0"),
        ({"num_inference_steps": 0}, ConfigError, "0"),
        ({"output_type": "jpg"}, ConfigError, "jpg"),
        ({"num_images_per_prompt": 0}, PromptError, "num_images_per_prompt=0"),
        ({"prompt": []}, PromptError, "0 prompts"),
        ({"generator": seeded(1, 2)}, ConfigError, "2 generators for 1"),
        ({"latents": torch.zeros(1, 4, 4, 4)}, ConfigError, r"\(1, 4, 4, 4\)"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, ConfigError, "prompt_embeds"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(
    pipe: JanusFlowPipeline, asked: dict, error: type[JanusFlowError], named: str
):
    with pytest.raises(error, match=named):
        pipe(**{"prompt": "a", **asked})


def test_the_trained_size_may_be_said(pipe: JanusFlowPipeline):
    (image,) = pipe("a", height=64, width=64, num_inference_steps=1).images
    assert image.size == (64, 64)


def test_schedulers_of_other_kinds_of_models_are_refused(pipe: JanusFlowPipeline):
    pipe.scheduler = DDIMScheduler()
    with pytest.raises(ConfigError, match="DDIMScheduler"):
        pipe("a")


def test_it_is_saved_and_loaded(pipe: JanusFlowPipeline, tmp_path: Path):
    pipe.save_pretrained(tmp_path)
    assert (tmp_path / "model_index.json").is_file()
    again = quiet(JanusFlowPipeline.from_pretrained(tmp_path))
    asked = {"latents": torch.randn(1, 4, 8, 8), "num_inference_steps": 2, "output_type": "latent"}
    assert torch.equal(again("a", **asked).images, pipe("a", **asked).images)
    half = JanusFlowPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {each.dtype for each in half.model.parameters()} == {torch.bfloat16}


def test_what_it_saved_is_loaded_as_any_model(
    tiny: JanusFlow, pipe: JanusFlowPipeline, tmp_path: Path
):
    with torch.no_grad():
        pipe = copy.deepcopy(pipe)
        pipe.vae.decoder.conv_out.bias.add_(1.0)  # no other VAE that the model knows of
    pipe.save_pretrained(tmp_path)
    asked = {"seed": 0, "steps": 2}
    (found,) = janusflow.load(tmp_path, device="cpu", dtype="float32").generate("a", **asked)
    (wanted,) = quiet(pipe)("a", num_inference_steps=2, generator=seeded(0)).images
    assert np.abs(levels(found) - levels(wanted)).max() <= 1
    assert not np.array_equal(levels(found), levels(tiny.generate("a", **asked)[0]))


def test_folders_of_ours_are_loaded(tiny_folder: Path, pipe: JanusFlowPipeline):
    loaded = quiet(JanusFlowPipeline.from_pretrained(tiny_folder))
    asked = {"latents": torch.randn(1, 4, 8, 8), "num_inference_steps": 2, "output_type": "latent"}
    assert torch.equal(loaded("a", **asked).images, pipe("a", **asked).images)


def test_the_releases_folder_is_loaded_with_its_vae_beside_or_given(tmp_path: Path):
    write_release_folder(tmp_path / "release")
    vae = tiny_vae()
    vae.save_pretrained(tmp_path / "vae")
    given = JanusFlowPipeline.from_pretrained(tmp_path / "release", vae=vae)
    assert given.vae is vae
    named = JanusFlowPipeline.from_pretrained(tmp_path / "release", vae=tmp_path / "vae")
    assert isinstance(named.vae, AutoencoderKL)
    (image,) = quiet(named)("a", num_inference_steps=1).images
    assert image.size == (64, 64)


def test_what_loading_cannot_honour_is_refused_by_name(tiny_folder: Path):
    with pytest.raises(ConfigError, match="device_map"):
        JanusFlowPipeline.from_pretrained(tiny_folder, device_map="balanced")
    with pytest.raises(CheckpointError, match="no/such/folder"):
        JanusFlowPipeline.from_pretrained("no/such/folder")


@pytest.mark.gpu
def test_offloading_draws_the_same(tiny_folder: Path, device: str):
    pipe = quiet(JanusFlowPipeline.from_pretrained(tiny_folder).to(device))
    asked = {"latents": torch.randn(1, 4, 8, 8), "num_inference_steps": 2, "output_type": "pt"}
    wanted = pipe("a", **asked).images
    pipe.enable_model_cpu_offload(device=device)
    for _ in range(2):
        assert torch.equal(pipe("a", **asked).images, wanted)
        assert {part.device.type for part in (pipe.model, pipe.vae)} == {"cpu"}
