"""ComfyUI's nodes hand over what its own nodes read, and draw what `jf.generate` draws."""

from typing import Any

import numpy as np
import pytest
import torch
from comfy_interface import ComfyAPISync, Interrupted, arguments_of, inputs_of

from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.vae import encode_images

SETTINGS = {"negative_prompt": "", "num_images": 1, "guidance": 2.0, "seed": 3}
IDS = ["JanusFlowDraw", "JanusFlowEdit", "JanusFlowLoad", "JanusFlowSee"]


def levels(image: Any) -> np.ndarray:
    return np.asarray(image).astype(int)


def drawn(nodes: dict[str, Any], jf: JanusFlow, **settings: Any) -> tuple[torch.Tensor, ...]:
    """LATENT samples and IMAGE of a small drawing."""
    settings = {"steps": 3, "solver": "euler", "plan": "never", **SETTINGS, **settings}
    given = nodes["JanusFlowDraw"].EXECUTE_NORMALIZED(
        janusflow=jf, prompt="a red circle", **settings
    )
    latent, image = given.result
    return latent["samples"], image


def test_the_entry_point_gives_four_nodes(nodes: dict[str, Any]):
    assert sorted(nodes) == IDS


@pytest.mark.parametrize("name", IDS)
def test_every_input_is_an_argument_of_execute(name: str, nodes: dict[str, Any]):
    inputs, needed_inputs = inputs_of(nodes[name])
    named, needed, takes_more = arguments_of(nodes[name])
    assert named <= inputs.keys()
    assert takes_more or named == inputs.keys()
    assert needed <= needed_inputs


def test_loading_gives_the_model_and_its_vae(nodes: dict[str, Any]):
    defaults, _ = inputs_of(nodes["JanusFlowLoad"])
    jf, vae = nodes["JanusFlowLoad"].EXECUTE_NORMALIZED(**defaults).result
    assert jf.name == "mini"
    assert vae.vae is jf.vae


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_latent_is_what_the_image_was_decoded_from(
    solver: str, nodes: dict[str, Any], tiny: JanusFlow, package: Any
):
    """VAEDecode hands the samples to the VAE as they are: they must not be scaled."""
    samples, image = drawn(nodes, tiny, solver=solver)
    decoded = package.nodes.Vae(tiny.vae).decode(samples)
    assert decoded.shape == image.shape == (1, 64, 64, 3)
    assert float((decoded - image).abs().max()) <= 0.5 / 255 + 1e-5


def test_the_latent_is_what_was_drawn_once_comfyui_has_scaled_it(
    nodes: dict[str, Any], tiny: JanusFlow
):
    """As its latent formats do: times the scaling factor, which is 0.13025 for SDXL's VAE."""
    ends: list[torch.Tensor] = []
    tiny.generate(
        "a red circle",
        seed=3,
        steps=3,
        plan="never",
        on_step=lambda step: ends.append(step.info.x_next),
    )
    samples, _ = drawn(nodes, tiny)
    scale = tiny.vae.config["scaling_factor"]
    assert scale != 1.0
    torch.testing.assert_close(samples * scale, ends[-1])


def test_images_are_those_of_generate_in_order_over_several_batches(
    nodes: dict[str, Any], tiny: JanusFlow, package: Any
):
    wanted = tiny.generate("a red circle", seed=3, steps=1, plan="never", num_images=9)
    samples, images = drawn(nodes, tiny, num_images=9, steps=1)
    found = package.nodes.to_pil(images)
    assert [levels(each).tolist() for each in found] == [levels(each).tolist() for each in wanted]
    decoded = package.nodes.Vae(tiny.vae).decode(samples)
    assert float((decoded - images).abs().max()) <= 0.5 / 255 + 1e-5


def test_progress_is_told_step_by_step(nodes: dict[str, Any], tiny: JanusFlow):
    ComfyAPISync.told.clear()
    drawn(nodes, tiny, steps=3)
    assert ComfyAPISync.told == [(1, 3), (2, 3), (3, 3)]


def test_a_drawing_that_is_interrupted_ends_after_the_step(
    nodes: dict[str, Any], tiny: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    ComfyAPISync.told.clear()
    monkeypatch.setattr(Interrupted, "is_wanted", True)
    with pytest.raises(Interrupted):
        drawn(nodes, tiny, steps=3)
    assert ComfyAPISync.told == []


def test_seeing_answers_as_ask_does(nodes: dict[str, Any], tiny: JanusFlow, package: Any):
    pictures = tiny.generate(["a red circle", "a blue star"], seed=1, steps=1, plan="never")
    defaults, _ = inputs_of(nodes["JanusFlowSee"])
    defaults["max_new_tokens"] = 6
    for shown in (pictures[:1], pictures, []):
        image = package.nodes.to_batch(shown) if shown else None
        given = nodes["JanusFlowSee"].EXECUTE_NORMALIZED(
            **{**defaults, "janusflow": tiny, "image": image, "question": "What?"}
        )
        assert given.result == (tiny.ask(shown, "What?", max_new_tokens=6),)


def test_a_mask_keeps_what_is_black(nodes: dict[str, Any], tiny: JanusFlow, package: Any):
    before = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    before = (before * 255).round() / 255
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    given = nodes["JanusFlowEdit"].EXECUTE_NORMALIZED(
        janusflow=tiny,
        image=before,
        mask=mask,
        prompt="a red circle",
        strength=1.0,
        steps=3,
        solver="heun",
        **SETTINGS,
    )
    latent, after = given.result
    assert latent["samples"].shape == (1, 4, 8, 8)
    assert torch.equal(after[:, :, :32], before[:, :, :32])
    assert float((after[:, :, 32:] - before[:, :, 32:]).abs().mean()) > 0.01


def test_an_edit_is_what_generate_draws_from_the_image(
    nodes: dict[str, Any], tiny: JanusFlow, package: Any
):
    (start,) = tiny.generate("a blue star", seed=1, steps=2)
    settings = {"steps": 4, "solver": "euler", "guidance": 2.0, "seed": 3, "strength": 0.4}
    given = nodes["JanusFlowEdit"].EXECUTE_NORMALIZED(
        janusflow=tiny,
        image=package.nodes.to_batch([start]),
        prompt="a red circle",
        num_images=2,
        negative_prompt="grey",
        **settings,
    )
    wanted = tiny.generate(
        "a red circle", init_image=start, num_images=2, negative_prompt="grey", **settings
    )
    assert torch.equal(given.result[1], package.nodes.to_batch(wanted))


def test_what_the_vae_encodes_is_not_scaled_either(tiny: JanusFlow, package: Any):
    image = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    samples = package.nodes.Vae(tiny.vae).encode(image)
    wanted = encode_images(tiny.vae, image.movedim(-1, 1) * 2 - 1)
    torch.testing.assert_close(samples * tiny.vae.config["scaling_factor"], wanted)


def test_images_come_back_from_8_bits_as_they_were(package: Any):
    image = torch.randint(256, (2, 5, 7, 3), generator=torch.Generator().manual_seed(0)) / 255
    assert torch.equal(package.nodes.to_batch(package.nodes.to_pil(image)), image)
