"""Train the parts `mini` makes itself, each from its recipe: the VAE, then the SigLIP tower."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import signature
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, Float16, UInt8
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm
from transformers import (
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from janusflow.config.records import refuse_unknown, to_tree
from janusflow.interop.saving import write_model
from janusflow.interop.vae import SUBFOLDER, load_vae
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.mini.scenes.regions import NOWHERE, Region, is_true, region_of_patch, regions
from janusflow.mini.scenes.scene import Scene
from janusflow.mini.training.images import CHUNK, open_images
from janusflow.mini.training.objectives import (
    ImageBatch,
    RegionBatch,
    SiglipObjective,
    VaeObjective,
)
from janusflow.mini.training.previews import (
    HELD_OUT_SEED,
    NUM_NAMED,
    SiglipSamples,
    VaeSamples,
    held_out,
)
from janusflow.mini.training.recipes import SiglipRecipe, VaeRecipe
from janusflow.mini.training.sources import pixel_values
from janusflow.processing.tokenizer import PAD_TAG
from janusflow.training.engine.distributed import (
    device,
    gather_to_main,
    is_main_process,
    microbatches_of_rank,
    num_processes,
    rank,
)
from janusflow.training.engine.loop import Batches, TrainState, train
from janusflow.training.objectives.base import Objective
from janusflow.training.report.log import LogHook
from janusflow.training.report.previews import SampleHook
from janusflow.training.report.trackers import open_trackers
from janusflow.training.stage.build_model import made_by_earlier_step, refuse_unknown_settings

LATENTS = "latents.npy"
TOWER = "tower"
CALIBRATION_IMAGES = 2048


def train_vae(recipe: VaeRecipe) -> None:
    """Train the VAE and save its average, its latents standardised unless the encoder was kept.

    If it has learnt new latents from scenes, every scene is encoded.
    """
    images = open_images(recipe)
    torch.manual_seed(recipe.loop.seed)
    vae = start_vae(recipe)

    def batches(step: int) -> Iterator[list[ImageBatch]]:
        while True:
            numbers = np.arange(recipe.batch_size)
            parts = microbatches_of_rank(numbers, recipe.loop)
            yield [images.batch(step, part.tolist()) for part in parts]
            step += 1

    state = train_part(
        recipe,
        VaeObjective(vae, kl_weight=recipe.kl_weight),
        batches,
        lambda **settings: VaeSamples(lambda: start_vae(recipe), images.held_out(), **settings),
    )
    vae = start_vae(recipe)
    vae.load_state_dict(state.averaged_weights("vae", on_all=True))
    nn.Module.to(vae, device())
    if not recipe.decoder_only:
        standardise_latents(vae, mean_latents(vae, images.chunks(CALIBRATION_IMAGES)))
    if is_main_process():
        vae.save_pretrained(recipe.run / SUBFOLDER)
    if recipe.scenes is not None and not recipe.decoder_only:
        # Standardised latents need no scaling: the factor is 1.
        save_latents(vae, images.chunks(), recipe.run / LATENTS)


def save_latents(vae: AutoencoderKL, chunks: Iterable[Float[Tensor, "n c y x"]], to: Path) -> None:
    """Encode all chunks, every n-th in one of n processes, and save them in their order."""
    own = islice(chunks, rank(), None, num_processes())
    bar = tqdm(own, desc="encode", disable=not is_main_process())
    parts = gather_to_main([mean_latents(vae, [chunk]) for chunk in bar])
    if parts is not None:
        in_order = chain.from_iterable(zip_longest(*parts))
        np.save(to, np.concatenate([latents for latents in in_order if latents is not None]))


def start_vae(recipe: VaeRecipe) -> AutoencoderKL:
    """The VAE that a recipe builds or starts from; an encoder to be kept takes no gradients.

    Raises:
        ConfigError: a setting is none of AutoencoderKL's.
        CheckpointError: there is none to start from.
    """
    if recipe.model is None:
        vae = load_vae(recipe.start)
        if recipe.decoder_only:
            for name, weight in vae.named_parameters():
                weight.requires_grad_(name.startswith(("decoder.", "post_quant_conv.")))
        return vae
    known = list(signature(AutoencoderKL.__init__).parameters)[1:]
    refuse_unknown(recipe.model, known, where=f"{recipe.run}: model")
    return AutoencoderKL(**recipe.model)


def train_part(
    recipe: VaeRecipe | SiglipRecipe,
    objective: Objective,
    batches: Batches,
    samples: Callable[..., SampleHook],
) -> TrainState:
    """Train with the reports and samples that the recipe asks for; `samples` makes their hook."""
    every = recipe.log.samples_every
    with open_trackers(recipe.log, recipe.run, to_tree(recipe)) as trackers:
        log = LogHook(recipe.run, recipe.loop, trackers=trackers)
        shown = [samples(every=every, trackers=trackers)] if every else []
        return train(objective, batches, recipe.loop, run=recipe.run, hooks=[log, *shown])


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, latents: np.ndarray) -> None:
    """Give every latent channel mean 0 and variance 1, as the flow's noise has.

    The affine map is absorbed by the two 1x1 convolutions around the latent, so images come
    out as before and the scaling factor becomes 1.
    """
    per_channel = torch.from_numpy(latents.astype(np.float32)).transpose(0, 1).flatten(1)
    per_channel = per_channel.to(vae.device)
    mean, std = per_channel.mean(1), per_channel.std(1)
    channels = len(mean)
    # A state dict shares its tensors with the module.
    encode = cast(nn.Module, vae.quant_conv).state_dict()
    decode = cast(nn.Module, vae.post_quant_conv).state_dict()
    encode["weight"][:channels] /= std[:, None, None, None]
    encode["bias"][:channels] -= mean
    encode["bias"][:channels] /= std
    encode["bias"][channels:] -= 2 * std.log()
    decode["bias"] += decode["weight"][:, :, 0, 0] @ mean
    decode["weight"] *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0, shift_factor=None)


@torch.no_grad()
def mean_latents(
    vae: AutoencoderKL, chunks: Iterable[Float[Tensor, "n c y x"]]
) -> Float16[np.ndarray, "m k v u"]:
    """The mean latents of all images, without scaling."""

    def encoded(chunk: Tensor) -> np.ndarray:
        (posterior,) = vae.encode(chunk.to(vae.device), return_dict=False)
        return posterior.mean.cpu().numpy().astype(np.float16)

    return np.concatenate([encoded(chunk) for chunk in chunks])


def train_siglip(recipe: SiglipRecipe) -> None:
    """Train image and text towers together and save the image tower."""
    scenes = SceneFolder(recipe.scenes)
    for name, kind in (("vision", SiglipVisionConfig), ("text", SiglipTextConfig)):
        refuse_unknown_settings(getattr(recipe, name), kind, where=f"{recipe.run}: {name}")
    tokenizer = Tokenizer.from_file(str(made_by_earlier_step(recipe.tokenizer / "tokenizer.json")))
    torch.manual_seed(recipe.loop.seed)
    siglip = SiglipModel(
        SiglipConfig(
            vision_config=recipe.vision,
            text_config={**recipe.text, "vocab_size": tokenizer.get_vocab_size()},
        )
    )
    length = int(recipe.text["max_position_embeddings"])
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(
        length=length, pad_id=tokenizer.token_to_id(PAD_TAG), pad_token=PAD_TAG
    )
    grid = recipe.vision["image_size"] // recipe.vision["patch_size"]

    def batches(step: int) -> Iterator[list[RegionBatch]]:
        while True:
            rng = np.random.default_rng((recipe.loop.seed, step))
            rows = np.sort(rng.integers(len(scenes), size=recipe.batch_size))
            whole = region_batch(
                [scenes.scene(row) for row in rows.tolist()],
                scenes.images[rows],
                tokenizer,
                rng,
                grid=grid,
            )
            images = np.arange(len(rows))
            yield [whole.of(own) for own in microbatches_of_rank(images, recipe.loop)]
            step += 1

    def held_out_batch() -> RegionBatch:
        told, images = held_out(NUM_NAMED, size=scenes.size)
        rng = np.random.default_rng(HELD_OUT_SEED)
        return region_batch(told, images, tokenizer, rng, grid=grid)

    state = train_part(
        recipe,
        SiglipObjective(siglip),
        batches,
        lambda **settings: SiglipSamples(siglip.config, held_out_batch(), **settings),
    )
    weights = state.averaged_weights("siglip.vision_model")
    if not is_main_process():
        return
    tower = SiglipVisionModel(SiglipVisionConfig(**recipe.vision))
    tower.load_state_dict(weights)
    nn.Module.to(tower, device())
    standardise_features(tower, pixel_values(scenes.images[:CALIBRATION_IMAGES]))
    write_model(tower, recipe.run / TOWER)


@torch.no_grad()
def standardise_features(tower: SiglipVisionModel, images: Float[Tensor, "n c y x"]) -> None:
    """Give every feature mean 0 and variance 1 over the patches of some images.

    What all patches share would be most of what REPA's cosine sees, and of what the LLM reads. The
    affine map is absorbed by the tower's final norm.
    """
    chunks = images.split(CHUNK)
    features = torch.cat(
        [
            tower(pixel_values=chunk.to(tower.device)).last_hidden_state
            for chunk in tqdm(chunks, desc="encode")
        ]
    )
    mean, std = features.mean((0, 1)), features.std((0, 1))
    # A state dict shares its tensors with the module.
    norm = tower.post_layernorm.state_dict()
    norm["weight"] /= std
    norm["bias"] -= mean
    norm["bias"] /= std


def region_batch(
    scenes: Sequence[Scene],
    images: UInt8[np.ndarray, "n y x 3"],
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    *,
    grid: int,
) -> RegionBatch:
    """Some scenes' images and phrases for their regions, each scene in one language."""
    named: list[Region] = []
    region_of_patches = []
    for scene in scenes:
        owner = region_of_patch(scene, size=images.shape[1], grid=grid)
        region_of_patches.append(np.where(owner == NOWHERE, NOWHERE, owner + len(named)))
        named += regions(scene, rng, language="en" if rng.random() < 0.5 else "ko")
    encodings = tokenizer.encode_batch([region.phrase for region in named])
    return RegionBatch(
        pixel_values=pixel_values(images),
        region_of_patch=torch.from_numpy(np.stack(region_of_patches)),
        token_ids=torch.tensor([encoding.ids for encoding in encodings]),
        is_true=torch.from_numpy(is_true(named)),
    )
