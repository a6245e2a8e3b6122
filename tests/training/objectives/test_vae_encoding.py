"""Images of a batch without latents: how the frozen VAE encodes them."""

from dataclasses import replace

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tiny_run import VAE, TinySources, draw, make_collator, run_model
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.config.training import ObjectiveConfig, VaeEncodingConfig
from janusflow.data.batches.collate import Drawings, TrainBatch
from janusflow.flow.path import PathPoint
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.objectives import janusflow as janusflow_objective
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.stage.build_model import encoding_vae


@pytest.fixture(scope="module")
def model() -> JanusFlowForConditionalGeneration:
    return run_model()


def make_batch(
    sources: TinySources, model: JanusFlowForConditionalGeneration, *kinds: str
) -> TrainBatch:
    return make_collator(model)(draw(sources, *kinds))


def drawings_of(batch: TrainBatch) -> Drawings:
    assert batch.drawings is not None
    return batch.drawings


def test_images_without_latents_are_encoded_by_the_frozen_vae(
    sources: TinySources, model: JanusFlowForConditionalGeneration
):
    torch.manual_seed(0)
    vae = AutoencoderKL(**VAE, scaling_factor=0.4).eval()
    batch = make_batch(sources, model, "generation", "generation")
    drawings = drawings_of(batch)
    with torch.no_grad():
        latents = 0.4 * vae.encode(drawings.pixel_values).latent_dist.mean
    known = replace(batch, drawings=replace(drawings, latents=latents))
    unknown = replace(batch, drawings=replace(drawings, latents=None))
    objective = JanusFlowObjective(model, ObjectiveConfig(), vae=vae)
    assert not any(parameter.requires_grad for parameter in vae.parameters())
    with torch.no_grad():
        found, expected = objective(unknown), objective(known)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, atol=1e-5, rtol=1e-5)
    assert objective.loss_counts(unknown) == objective.loss_counts(known)
    assert objective.loss_counts(known)["flow_mse"] == latents.numel()
    with pytest.raises(ConfigError, match="give the objective a VAE"):
        JanusFlowObjective(model, ObjectiveConfig())(unknown)


@pytest.mark.parametrize(
    ("config", "sizes", "atol"),
    [
        (VaeEncodingConfig(batch_size=2), [2, 1], 1e-5),
        (VaeEncodingConfig(channels_last=True), [3], 1e-4),
        (VaeEncodingConfig(precision="bf16", channels_last=True, batch_size=1), [1, 1, 1], 0.02),
    ],
    ids=["chunks", "channels last", "all of it in bfloat16"],
)
def test_however_the_vae_encodes_the_flow_gets_float32_latents(
    sources: TinySources,
    model: JanusFlowForConditionalGeneration,
    monkeypatch: pytest.MonkeyPatch,
    config: VaeEncodingConfig,
    sizes: list[int],
    atol: float,
):
    torch.manual_seed(0)
    vae = AutoencoderKL(**VAE, scaling_factor=0.4).eval()
    encoder = encoding_vae(vae, config)
    batch = make_batch(sources, model, *["generation"] * 3)
    pixels = drawings_of(batch).pixel_values
    with torch.no_grad():
        wanted = 0.4 * vae.encode(pixels).latent_dist.mean
    seen: list[Tensor] = []
    given: list[Tensor] = []
    encoder.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    spied = janusflow_objective.point_on_path

    def spy(*, data: Tensor, **others: Tensor) -> PathPoint:
        given.append(data)
        return spied(data=data, **others)

    monkeypatch.setattr(janusflow_objective, "point_on_path", spy)
    objective = JanusFlowObjective(
        model, ObjectiveConfig(), vae=encoder, vae_batch_size=config.batch_size
    )
    losses = objective(replace(batch, drawings=replace(drawings_of(batch), latents=None)))
    assert [len(each) for each in seen] == sizes
    assert {each.dtype for each in seen} == {encoder.dtype}
    assert {given[0].dtype, *(loss.dtype for loss in losses.values())} == {torch.float32}
    torch.testing.assert_close(given[0], wanted, atol=atol, rtol=0)
    assert vae.dtype == torch.float32  # what is saved is not what was rounded
    kernel = encoder.encoder.conv_in.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) == config.channels_last
