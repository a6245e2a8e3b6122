"""Samples of assumed lengths, for counting what a step costs. Images are shapes alone."""

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import Tensor

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.recipes import StageRecipe
from janusflow.data.batches.collate import Built, Collator
from janusflow.data.batches.mixture import KINDS, Kind
from janusflow.data.samples import GenerationSample, Sample, TextSample, Turn, UnderstandingSample
from janusflow.model.configuration import JanusFlowConfig
from janusflow.training.estimate.sizes import Sizes
from janusflow.training.stage.caching import cached, keeps_pixels

WORD, IMAGE_TAG = "word", "<image_placeholder>"


def assumed_samples(
    recipe: StageRecipe, sizes: Sizes, lengths: DryRunConfig, collate: Collator
) -> dict[Kind, Built]:
    """A sample of every kind with a share, images as the recipe's cache gives them."""
    config = sizes.model.config
    names = cached(recipe, config) if recipe.data.cache is not None else ()
    vision, flow = config.vision_config, config.generation
    factor = 2 ** (len(sizes.vae.config["block_out_channels"]) - 1)
    features = _shape((vision.image_size // vision.patch_size) ** 2, vision.hidden_size)
    pixels = _shape(3, vision.image_size, vision.image_size)
    drawn_pixels = _shape(3, flow.latent_size * factor, flow.latent_size * factor)
    has_latents = "latents" in names
    question, answer = _words(lengths.question_tokens), _words(lengths.answer_tokens)
    words, redraws = _words(lengths.prompt_tokens), any(s.redraw for s in recipe.data.generation)
    samples: dict[Kind, Sample] = {
        "understanding": UnderstandingSample(
            images=(features if "understanding_features" in names else pixels,),
            turns=(Turn(question=question, answer=answer),),
        ),
        "generation": GenerationSample(
            prompt=f"{IMAGE_TAG} {words}" if redraws else words,
            images=(features if "generation_features" in names else pixels,) if redraws else (),
            pixel_values=None if has_latents and not keeps_pixels(recipe, names) else drawn_pixels,
            latent=_shape(flow.latent_channels, flow.latent_size, flow.latent_size)
            if has_latents
            else None,
            features=features if "generation_features" in names else None,
            seed=0,
        ),
        "text": TextSample(text=_words(lengths.text_tokens)),
    }
    ratios = recipe.mixture.ratios
    return {
        kind: collate.build(samples[kind])
        for kind in KINDS
        if any(getattr(ratio, kind) for ratio in ratios)
    }


def word_tokenizer(config: JanusFlowConfig) -> Tokenizer:
    """One token a word, where a model's own tokenizer is not needed."""
    tags = {config.image_token_id, config.image_start_token_id, config.image_end_token_id}
    word_id = next(number for number in range(len(tags) + 1) if number not in tags)
    vocabulary = {WORD: word_id, IMAGE_TAG: config.image_token_id}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=WORD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(IMAGE_TAG, special=True)])
    return tokenizer


def _words(number: int) -> str:
    return " ".join([WORD] * number)


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")
