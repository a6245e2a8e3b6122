"""Train the parts `mini` makes itself, each from its recipe: the VAE, then the SigLIP tower."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import SiglipConfig, SiglipModel

from janusflow.config.recipes import SiglipRecipe, VaeRecipe
from janusflow.config.training import LoopConfig
from janusflow.mini.captions import caption
from janusflow.mini.dataset import SceneFolder
from janusflow.mini.questions import ask_all
from janusflow.mini.scenes import Scene
from janusflow.mini.sources import pixel_values
from janusflow.mini.tokenizer import PAD
from janusflow.training.hooks import LogHook
from janusflow.training.loop import TrainState, train
from janusflow.training.pretraining import (
    CaptionedBatch,
    PictureBatch,
    SiglipObjective,
    VaeObjective,
)

LATENTS = "latents.npy"
VAE = "vae"
TOWER = "tower"
ENCODE_BATCH = 128


def log_hook(run: Path, loop: LoopConfig) -> LogHook:
    """The hook every task logs with."""
    return LogHook(run, every=loop.log_every, steps=loop.steps, name=run.name)


def train_vae(recipe: VaeRecipe) -> None:
    """Train the VAE, save its average, and encode every scene with it."""
    scenes = SceneFolder(recipe.scenes)
    torch.manual_seed(recipe.loop.seed)
    vae = AutoencoderKL(**recipe.model)

    def batches(step: int) -> Iterator[PictureBatch]:
        while True:
            rng = np.random.default_rng((recipe.loop.seed, step))
            rows = rng.integers(len(scenes), size=recipe.batch_size)
            yield PictureBatch(pixel_values=pixel_values(scenes.pictures[np.sort(rows)]))
            step += 1

    state = train(
        VaeObjective(vae, kl_weight=recipe.kl_weight),
        batches,
        recipe.loop,
        run=recipe.run,
        hooks=[log_hook(recipe.run, recipe.loop)],
    )
    with averaged(state):
        latents = encode_scenes(vae, scenes)
        # Latents of unit variance: the flow's noise has variance one (Rombach et al. 2022).
        vae.register_to_config(scaling_factor=1.0 / float(latents.astype(np.float32).std()))
        vae.save_pretrained(recipe.run / VAE)
    np.save(recipe.run / LATENTS, latents)


def averaged(state: TrainState) -> AbstractContextManager[None]:
    """The run's averaged weights (its own if it keeps no average), inside a with block."""
    return nullcontext() if state.ema is None else state.ema.swapped_in()


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: SceneFolder) -> np.ndarray:
    """The mean latent of every scene, unscaled, float16, [scene, channel, row, column]."""
    chunks = range(0, len(scenes), ENCODE_BATCH)
    return np.concatenate(
        [
            vae.encode(pixel_values(scenes.pictures[start : start + ENCODE_BATCH]))
            .latent_dist.mean.numpy()
            .astype(np.float16)
            for start in tqdm(chunks, desc="encode")
        ]
    )


def train_siglip(recipe: SiglipRecipe) -> None:
    """Train picture and text towers together and save the picture tower."""
    scenes = SceneFolder(recipe.scenes)
    tokenizer = Tokenizer.from_file(str(recipe.tokenizer / "tokenizer.json"))
    torch.manual_seed(recipe.loop.seed)
    siglip = SiglipModel(
        SiglipConfig(
            vision_config=recipe.vision,
            text_config={**recipe.text, "vocab_size": tokenizer.get_vocab_size()},
        )
    )
    length = siglip.config.text_config.max_position_embeddings
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)

    def batches(step: int) -> Iterator[CaptionedBatch]:
        while True:
            rng = np.random.default_rng((recipe.loop.seed, step))
            rows = np.sort(rng.integers(len(scenes), size=recipe.batch_size))
            texts = [facts(scenes.scene(row), rng) for row in rows.tolist()]
            yield CaptionedBatch(
                pixel_values=pixel_values(scenes.pictures[rows]),
                token_ids=torch.tensor([e.ids for e in tokenizer.encode_batch(texts)]),
            )
            step += 1

    state = train(
        SiglipObjective(siglip),
        batches,
        recipe.loop,
        run=recipe.run,
        hooks=[log_hook(recipe.run, recipe.loop)],
    )
    with averaged(state):
        siglip.vision_model.save_pretrained(recipe.run / TOWER)


def facts(scene: Scene, rng: np.random.Generator, *, num_questions: int = 3) -> str:
    """A caption and some answered questions: text that tells more scenes apart than a caption."""
    language = "en" if rng.random() < 0.5 else "ko"
    asked = ask_all(scene, rng, language=language)
    chosen = rng.permutation(len(asked))[:num_questions]
    lines = [f"{asked[i].text} {asked[i].answer}" for i in sorted(chosen.tolist())]
    return ". ".join([caption(scene, rng, language=language), *lines])
