"""Objectives of the parts mini makes itself, against the formulas of their papers."""

import math

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tiny_run import VAE, VISION
from transformers import SiglipConfig, SiglipModel

from janusflow.mini.dataset import SceneFolder, write_scenes
from janusflow.mini.scenes import sample_scene
from janusflow.mini.sources import pixel_values
from janusflow.training.pretrain import encode_scenes, facts, standardise_latents
from janusflow.training.pretraining import (
    CaptionedBatch,
    PictureBatch,
    SiglipObjective,
    VaeObjective,
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneFolder:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, num_scenes=6, size=64, seed=3)
    return SceneFolder(folder)


@pytest.fixture
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(**VAE).eval()


def siglip_objective() -> SiglipObjective:
    torch.manual_seed(0)
    text = {**VISION, "vocab_size": 20, "max_position_embeddings": 4}
    return SiglipObjective(SiglipModel(SiglipConfig(vision_config=VISION, text_config=text)))


def captioned(*captions: list[int]) -> CaptionedBatch:
    pixels = torch.rand(len(captions), 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return CaptionedBatch(pixel_values=pixels, token_ids=torch.tensor(captions))


def sigmoid_loss(objective: SiglipObjective, batch: CaptionedBatch) -> float:
    with torch.no_grad():
        return objective(batch, torch.Generator())["sigmoid"].item()


def by_the_paper(objective: SiglipObjective, batch: CaptionedBatch) -> float:
    """Zhai et al. 2023, algorithm 1, pair by pair; equal captions count as right."""
    with torch.no_grad():
        seen = objective.siglip.get_image_features(pixel_values=batch.pixel_values).pooler_output
        read = objective.siglip.get_text_features(input_ids=batch.token_ids).pooler_output
    total = 0.0
    for i, text in enumerate(read.double()):
        for j, picture in enumerate(seen.double()):
            cosine = float(text @ picture / text.norm() / picture.norm())
            logit = 10 * cosine - 10
            is_right = batch.token_ids[i].tolist() == batch.token_ids[j].tolist()
            total += math.log1p(math.exp(-logit if is_right else logit))
    return total / len(batch)


def test_the_sigmoid_loss_is_the_papers_over_all_pairs():
    objective, batch = siglip_objective(), captioned([1, 2, 3, 0], [4, 5, 0, 0], [6, 0, 0, 0])
    expected = by_the_paper(objective, batch)
    # log 10 is written as 2.3 in the code, as in SigLIP's.
    assert sigmoid_loss(objective, batch) == pytest.approx(expected, rel=2e-3)


def test_equal_captions_are_no_negatives_of_one_another():
    objective, batch = siglip_objective(), captioned([1, 2, 3, 0], [4, 5, 0, 0], [1, 2, 3, 0])
    expected = by_the_paper(objective, batch)
    assert sigmoid_loss(objective, batch) == pytest.approx(expected, rel=2e-3)


def test_the_vae_loss_is_absolute_plus_squared_error_and_the_weighted_kl(vae: AutoencoderKL):
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        losses = VaeObjective(vae, kl_weight=0.25)(
            PictureBatch(pixel_values=pixels), torch.Generator().manual_seed(4)
        )
        posterior = vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(4))
        drawn = vae.decode(posterior.mean + posterior.std * noise).sample
    error = (drawn - pixels).abs().double()
    normal = torch.distributions.Normal(posterior.mean, posterior.std)
    kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    assert losses["absolute"].item() == pytest.approx(error.mean().item(), rel=1e-5)
    assert losses["squared"].item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert losses["kl"].item() == pytest.approx(0.25 * kl.mean().item(), rel=1e-4)


def test_standardised_latents_have_unit_variance_and_leave_pictures_unchanged(
    vae: AutoencoderKL, scenes: SceneFolder
):
    pixels = pixel_values(scenes.pictures[:])
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        raw = before.mean.numpy()
        standardise_latents(vae, raw)
        after = vae.encode(pixels).latent_dist
        again = vae.decode(after.mean).sample
    assert after.mean.mean((0, 2, 3)).abs().max() < 1e-4
    assert (after.mean.std((0, 2, 3)) - 1).abs().max() < 1e-3
    torch.testing.assert_close(again, picture, atol=1e-5, rtol=0)
    # Samples keep their spread relative to the latent: pictures of samples are unchanged too.
    spread = after.std / before.std * torch.from_numpy(raw).std((0, 2, 3))[:, None, None]
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=1e-3, rtol=0)
    assert vae.config.scaling_factor == 1.0


@pytest.mark.parametrize("num_scenes", [None, 4, 6, 100])
def test_scenes_are_encoded_in_order_whatever_the_batches(
    vae: AutoencoderKL,
    scenes: SceneFolder,
    monkeypatch: pytest.MonkeyPatch,
    num_scenes: int | None,
):
    monkeypatch.setattr("janusflow.training.pretrain.ENCODE_BATCH", 4)
    latents = encode_scenes(vae, scenes, num_scenes=num_scenes)
    assert latents.dtype == np.float16
    assert len(latents) == min(num_scenes or 6, 6)
    for index, latent in enumerate(latents):
        with torch.no_grad():
            alone = vae.encode(pixel_values(scenes.pictures[index][None])).latent_dist.mean[0]
        np.testing.assert_allclose(latent, alone.numpy(), atol=2e-3)


def test_facts_are_a_caption_and_answered_questions_in_one_language():
    for seed in range(20):
        text = facts(sample_scene(np.random.default_rng(seed)), np.random.default_rng(seed))
        assert len(text.split(". ")) >= 4
        is_korean = any("가" <= letter <= "힣" for letter in text)
        assert is_korean != any("a" <= letter <= "z" for letter in text)


def test_facts_differ_from_draw_to_draw():
    scene = sample_scene(np.random.default_rng(0))
    assert len({facts(scene, np.random.default_rng(seed)) for seed in range(9)}) > 5


def test_pictures_survive_as_values():
    """All 256 levels, there and back."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    values = pixel_values(levels)
    assert (values.min().item(), values.max().item()) == (-1.0, 1.0)
    back = ((values + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(back, levels)
