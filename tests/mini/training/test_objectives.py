"""Objectives of the parts mini makes itself, against the formulas of their papers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tiny_run import VAE, VISION, run_processor
from torch import nn
from transformers import SiglipConfig, SiglipModel

from janusflow.flow.noise import sample_noise
from janusflow.mini.scenes.dataset import SceneFolder, write_scenes
from janusflow.mini.scenes.regions import NOWHERE
from janusflow.mini.training.images import Scenes
from janusflow.mini.training.objectives import (
    ImageBatch,
    RegionBatch,
    SiglipObjective,
    VaeObjective,
)
from janusflow.mini.training.runners import (
    mean_latents,
    region_batch,
    save_latents,
    standardise_features,
    standardise_latents,
)
from janusflow.mini.training.sources import pixel_values
from janusflow.training.engine.parallelize import to_device


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


def region_batch_of(region_of_patch: list[list[int]], is_true: list[list[int]]) -> RegionBatch:
    """Random images whose first patches show the regions, the others none."""
    num_patches = (VISION["image_size"] // VISION["patch_size"]) ** 2
    size = VISION["image_size"]
    shown = torch.full((len(region_of_patch), num_patches), NOWHERE)
    for image, regions in enumerate(region_of_patch):
        shown[image, : len(regions)] = torch.tensor(regions)
    generator = torch.Generator().manual_seed(1)
    return RegionBatch(
        pixel_values=torch.rand(len(shown), 3, size, size, generator=generator),
        region_of_patch=shown,
        token_ids=torch.randint(20, (len(is_true), 4), generator=generator),
        is_true=torch.tensor(is_true, dtype=torch.bool),
    )


def sigmoid_loss(objective: SiglipObjective, batch: RegionBatch) -> float:
    with torch.no_grad():
        return objective(batch)["sigmoid"].item() / objective.loss_counts(batch)["sigmoid"]


def region_by_region(objective: SiglipObjective, batch: RegionBatch) -> float:
    """Zhai et al. 2023, algorithm 1, pair by pair, averaged within and then over regions.

    Phrases are compared less what the batch's phrases share, and the bias starts at -3.
    """
    siglip = objective.siglip
    with torch.no_grad():
        seen = siglip.vision_model(pixel_values=batch.pixel_values).last_hidden_state.double()
        read = siglip.get_text_features(input_ids=batch.token_ids).pooler_output.double()
        read = read - read.sum(0) / len(read)
    regions: dict[int, list[float]] = {}
    for image, shown in enumerate(batch.region_of_patch.tolist()):
        for patch, region in enumerate(shown):
            if region == NOWHERE:
                continue
            loss = 0.0
            for phrase, text in enumerate(read):
                feature = seen[image, patch]
                logit = math.exp(2.3) * float(text @ feature / text.norm() / feature.norm()) - 3
                is_right = bool(batch.is_true[phrase, region])
                loss += math.log1p(math.exp(-logit if is_right else logit))
            regions.setdefault(region, []).append(loss)
    return sum(sum(losses) / len(losses) for losses in regions.values()) / len(regions)


@pytest.mark.parametrize(
    "is_true",
    [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 1], [0, 1, 0], [0, 0, 1]]],
    ids=["each of its own region", "one of another region too"],
)
def test_the_sigmoid_loss_is_the_papers_over_all_patches_and_phrases(is_true: list[list[int]]):
    objective = siglip_objective()
    batch = region_batch_of([[0, 0, 0, 1], [2, NOWHERE, 2]], is_true)
    expected = region_by_region(objective, batch)
    assert sigmoid_loss(objective, batch) == pytest.approx(expected, rel=1e-5)


def test_regions_of_one_name_count_alike_but_it_is_read_once():
    objective = siglip_objective()
    batch = region_batch_of([[0, 0, 1], [2]], [[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    batch.token_ids[2] = batch.token_ids[0]
    read = []
    text: nn.Module = objective.siglip.text_model
    text.register_forward_pre_hook(
        lambda _, args, settings: read.append(settings["input_ids"]), with_kwargs=True
    )
    loss = sigmoid_loss(objective, batch)
    (phrases,) = read
    assert sorted(phrases.tolist()) == sorted(batch.token_ids[:2].tolist())
    assert loss == pytest.approx(region_by_region(objective, batch), rel=1e-5)


def test_a_batch_gives_every_patch_a_region_of_its_own_scene(scenes: SceneFolder):
    tokenizer = run_processor().tokenizer.backend_tokenizer
    tokenizer.enable_padding(length=48)
    rows = np.array([0, 3, 5])
    told = [scenes.scene(row) for row in rows.tolist()]
    rng = np.random.default_rng(0)
    batch = region_batch(told, scenes.images[rows], tokenizer, rng, grid=8)
    assert batch.pixel_values.shape == (3, 3, 64, 64)
    ends = np.cumsum([1 + len(scenes.scene(row).objects) for row in rows.tolist()])
    for index, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        named = batch.region_of_patch[index]
        assert set(named.tolist()) <= {NOWHERE, *range(start, end)}
        assert set(range(start, end)) <= set(named.tolist())
    assert len(batch.token_ids) == len(batch.is_true) == ends[-1]
    assert batch.is_true.diagonal().all()


def test_the_vae_loss_is_absolute_plus_squared_error_and_the_weighted_kl(vae: AutoencoderKL):
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        objective = VaeObjective(vae, kl_weight=0.25)
        batch = ImageBatch(pixel_values=pixels, seeds=(4, 9))
        counts = objective.loss_counts(batch)
        losses = {name: total / counts[name] for name, total in objective(batch).items()}
        posterior = vae.encode(pixels).latent_dist
        noise = sample_noise(tuple(posterior.mean.shape[1:]), seeds=[4, 9])
        drawn = vae.decode(posterior.mean + posterior.std * noise).sample
    error = (drawn - pixels).abs().double()
    normal = torch.distributions.Normal(posterior.mean, posterior.std)
    kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    assert losses["absolute"].item() == pytest.approx(error.mean().item(), rel=1e-5)
    assert losses["squared"].item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert losses["kl"].item() == pytest.approx(0.25 * kl.mean().item(), rel=1e-4)


def test_a_vae_draws_its_noise_where_it_trains(vae: AutoencoderKL):
    """The meta device stands for a GPU; a tensor of another device would be refused."""
    batch = to_device(
        ImageBatch(pixel_values=torch.rand(2, 3, 64, 64), seeds=(4, 9)), torch.device("meta")
    )
    losses = VaeObjective(vae.to("meta"), kl_weight=0.25)(batch)
    assert {each.device.type for each in losses.values()} == {"meta"}


class ReachedError(Exception):
    """Where a network begins on the meta device, which holds no values to go on with."""


def test_what_encodes_all_images_does_so_where_its_network_is(vae: AutoencoderKL):
    tower = siglip_objective().siglip.vision_model.to("meta")
    for first in (vae.to("meta").encoder.conv_in, tower.embeddings.patch_embedding):
        first.register_forward_pre_hook(reached_on_meta)
    pixels = torch.zeros(2, 3, 64, 64)
    with pytest.raises(ReachedError, match="meta"):
        mean_latents(vae, [pixels])
    with pytest.raises(ReachedError, match="meta"):
        standardise_features(tower, pixels)


def reached_on_meta(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
    raise ReachedError(str(inputs[0].device))


def test_standardised_latents_have_unit_variance_and_leave_images_unchanged(
    vae: AutoencoderKL, scenes: SceneFolder
):
    pixels = pixel_values(scenes.images[:])
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        image = vae.decode(before.mean).sample
        raw = before.mean.numpy()
        standardise_latents(vae, raw)
        after = vae.encode(pixels).latent_dist
        again = vae.decode(after.mean).sample
    assert after.mean.mean((0, 2, 3)).abs().max() < 1e-4
    assert (after.mean.std((0, 2, 3)) - 1).abs().max() < 1e-3
    torch.testing.assert_close(again, image, atol=1e-5, rtol=0)
    # Samples keep their spread relative to the latent: images of samples are unchanged too.
    spread = after.std / before.std * torch.from_numpy(raw).std((0, 2, 3))[:, None, None]
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=1e-3, rtol=0)
    assert vae.config.scaling_factor == 1.0


def test_standardised_features_are_the_same_ones_with_mean_0_and_variance_1(
    scenes: SceneFolder,
):
    tower = siglip_objective().siglip.vision_model.eval()
    pixels = pixel_values(scenes.images[:])
    with torch.no_grad():
        before = tower(pixel_values=pixels).last_hidden_state
        standardise_features(tower, pixels)
        after = tower(pixel_values=pixels).last_hidden_state
    spread = before.std((0, 1))
    torch.testing.assert_close(after, (before - before.mean((0, 1))) / spread, atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_scenes", [None, 4, 6, 100])
def test_scenes_are_encoded_in_order_whatever_the_batches(
    vae: AutoencoderKL,
    scenes: SceneFolder,
    monkeypatch: pytest.MonkeyPatch,
    num_scenes: int | None,
):
    monkeypatch.setattr("janusflow.mini.training.images.CHUNK", 4)
    images = Scenes(scenes=scenes, batch_size=1, seed=0)
    latents = mean_latents(vae, images.chunks(num_scenes))
    assert latents.dtype == np.float16
    assert len(latents) == min(num_scenes or 6, 6)
    for index, latent in enumerate(latents):
        with torch.no_grad():
            alone = vae.encode(pixel_values(scenes.images[index][None])).latent_dist.mean[0]
        np.testing.assert_allclose(latent, alone.numpy(), atol=2e-3)


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_latents_that_several_processes_encode_are_in_order_and_encoded_once(
    vae: AutoencoderKL,
    scenes: SceneFolder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    num_processes: int,
):
    """Three chunks: some processes have one more than others, or none."""
    images = Scenes(scenes=scenes, batch_size=1, seed=0)
    monkeypatch.setattr("janusflow.mini.training.images.CHUNK", 2)
    chunks = list(images.chunks())
    parts: list[list[np.ndarray]] = []
    monkeypatch.setattr("janusflow.mini.training.runners.num_processes", lambda: num_processes)
    monkeypatch.setattr("janusflow.mini.training.runners.gather_to_main", parts.append)
    for rank in range(num_processes):
        monkeypatch.setattr("janusflow.mini.training.runners.rank", lambda rank=rank: rank)
        save_latents(vae, chunks, tmp_path / "latents.npy")
        assert not (tmp_path / "latents.npy").exists()
    assert sum(len(part) for part in parts) == len(chunks)
    monkeypatch.setattr("janusflow.mini.training.runners.gather_to_main", lambda own: parts)
    save_latents(vae, chunks, tmp_path / "latents.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "latents.npy"), mean_latents(vae, chunks))


def test_images_survive_as_values():
    """All 256 levels, there and back."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    values = pixel_values(levels)
    assert (values.min().item(), values.max().item()) == (-1.0, 1.0)
    back = ((values + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(back, levels)
