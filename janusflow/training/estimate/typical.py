"""Samples of typical lengths, for counting what a step costs: read from the sources, or made up.

Their pictures have no memory: only shapes are counted.
"""

from collections.abc import Callable
from dataclasses import replace
from glob import glob
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from janusflow.config.dry_run import TypicalLengths
from janusflow.config.errors import JanusFlowError
from janusflow.config.recipes import StageRecipe
from janusflow.data.collate import Built, Collator
from janusflow.data.formats import open_sources
from janusflow.data.mixture import KINDS, Kind
from janusflow.data.prepare import preparation
from janusflow.data.samples import GenerationSample, Sample, TextSample, Turn, UnderstandingSample
from janusflow.data.sources import BadRows, build_sample
from janusflow.model.configuration import JanusFlowConfig
from janusflow.training.estimate.sizes import Sizes
from janusflow.training.stage.caching import cached, keeps_pixels

ROWS_READ = 64
"""Rows of a kind that are read for their lengths."""
WORD, IMAGE_TAG = "word", "<image_placeholder>"


class Typical:
    """Built samples of every kind that has a share, the same few again and again."""

    def __init__(self, recipe: StageRecipe, sizes: Sizes, lengths: TypicalLengths) -> None:
        self.notes: list[str] = []
        self.collate = Collator(
            word_tokenizer(sizes.model.config),
            sizes.model.config,
            row_tokens=recipe.mixture.row_tokens,
        )
        self._samples: dict[Kind, list[Built]] = {}
        for kind in KINDS:
            if any(getattr(ratio, kind) for ratio in recipe.mixture.ratios):
                self._samples[kind] = self._read(kind, recipe, sizes) or self._assumed(
                    kind, recipe, sizes, lengths
                )

    def sample(self, kind: Kind, ordinal: int) -> Built:
        """The sample of this number among all of its kind."""
        return self._samples[kind][ordinal % len(self._samples[kind])]

    def _read(self, kind: Kind, recipe: StageRecipe, sizes: Sizes) -> list[Built]:
        """Rows of the kind's sources, in the order a run would take them, if all are here."""
        configs = getattr(recipe.data, kind)
        missing = [config.path for config in configs if not glob(str(Path(config.path)))]
        if sizes.processor is None or missing or not configs:
            return []
        prepare = preparation(sizes.processor, sizes.model.config, sizes.vae)
        tokenizer = sizes.processor.tokenizer.backend_tokenizer
        collate = Collator(tokenizer, sizes.model.config, row_tokens=self.collate.row_tokens)
        try:
            sources = open_sources({kind: configs}, prepare)[kind]
            built = [
                build_sample(
                    sources,
                    ordinal,
                    seed=recipe.loop.seed,
                    rng=np.random.default_rng((recipe.loop.seed, ordinal)),
                    build=collate.build,
                    bad=BadRows(max_share=1.0),
                )
                for ordinal in range(ROWS_READ)
            ]
        except (JanusFlowError, ImportError) as error:
            self.notes.append(f"{kind}: its sources cannot be read ({error}).")
            return []
        self._note(kind, built, f"{ROWS_READ} rows read of its sources")
        config = sizes.model.config
        return [Built(without_pixels(as_cached(s, recipe, config)), row) for s, row in built]

    def _assumed(
        self, kind: Kind, recipe: StageRecipe, sizes: Sizes, lengths: TypicalLengths
    ) -> list[Built]:
        make: dict[Kind, Callable[[], Sample]] = {
            "understanding": lambda: _question(sizes, lengths),
            "generation": lambda: _drawing(sizes, lengths),
            "text": lambda: TextSample(text=_words(lengths.text_tokens)),
        }
        built = self.collate.build(as_cached(make[kind](), recipe, sizes.model.config))
        texts: dict[Kind, str] = {
            "understanding": f"one picture, a question of {lengths.question_tokens} tokens and an "
            f"answer of {lengths.answer_tokens}",
            "generation": f"a prompt of {lengths.prompt_tokens} tokens and a picture",
            "text": f"a text of {lengths.text_tokens} tokens",
        }
        self._note(kind, [built], f"assumed: {texts[kind]}")
        return [built]

    def _note(self, kind: Kind, built: list[Built], origin: str) -> None:
        mean = sum(len(row) for _, row in built) / len(built)
        self.notes.append(f"{kind}: {mean:.0f} tokens a sample ({origin}).")


def word_tokenizer(config: JanusFlowConfig) -> Tokenizer:
    """One token a word, where a model's own tokenizer is not needed."""
    tags = {config.image_token_id, config.image_start_token_id, config.image_end_token_id}
    word_id = next(number for number in range(len(tags) + 1) if number not in tags)
    vocabulary = {WORD: word_id, IMAGE_TAG: config.image_token_id}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=WORD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(IMAGE_TAG, special=True)])
    return tokenizer


def without_pixels(sample: Sample) -> Sample:
    """The same sample, its pictures shapes alone."""
    match sample:
        case UnderstandingSample():
            return replace(sample, images=tuple(each.to("meta") for each in sample.images))
        case GenerationSample():
            known = {
                name: tensor.to("meta")
                for name in ("pixel_values", "latent", "features")
                if (tensor := getattr(sample, name)) is not None
            }
            return replace(sample, **known)
        case TextSample():
            return sample


def as_cached(sample: Sample, recipe: StageRecipe, config: JanusFlowConfig) -> Sample:
    """The same sample as a recipe's cache gives it, without memory."""
    names = cached(recipe, config) if recipe.data.cache is not None else ()
    vision, flow = config.vision_config, config.generation
    num_patches = (vision.image_size // vision.patch_size) ** 2
    features = torch.empty(num_patches, vision.hidden_size, device="meta")
    latent = torch.empty(flow.latent_channels, flow.latent_size, flow.latent_size, device="meta")
    if isinstance(sample, UnderstandingSample) and "understanding_features" in names:
        return replace(sample, images=(features,) * len(sample.images))
    if isinstance(sample, GenerationSample) and "latents" in names:
        is_kept = keeps_pixels(recipe, names)
        return replace(
            sample,
            pixel_values=sample.pixel_values if is_kept else None,
            latent=latent,
            features=features if "generation_features" in names else None,
        )
    return sample


def _words(number: int) -> str:
    return " ".join([WORD] * number)


def _question(sizes: Sizes, lengths: TypicalLengths) -> UnderstandingSample:
    size = sizes.model.config.vision_config.image_size
    turn = Turn(question=_words(lengths.question_tokens), answer=_words(lengths.answer_tokens))
    return UnderstandingSample(images=(torch.empty(3, size, size, device="meta"),), turns=(turn,))


def _drawing(sizes: Sizes, lengths: TypicalLengths) -> GenerationSample:
    factor = 2 ** (len(sizes.vae.config["block_out_channels"]) - 1)
    size = sizes.model.config.generation.latent_size * factor
    return GenerationSample(
        prompt=_words(lengths.prompt_tokens),
        pixel_values=torch.empty(3, size, size, device="meta"),
        latent=None,
        seed=0,
    )
