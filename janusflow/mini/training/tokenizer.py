"""A byte-level BPE tokenizer and the processor of `mini`, for what its scenes can be called."""

from collections.abc import Iterator

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from janusflow.mini.language.captions import caption
from janusflow.mini.language.questions import ask_all
from janusflow.mini.scenes.scene import sample_scene
from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.templates import END_OF_SENTENCE, question_text
from janusflow.processing.tokenizer import BEGIN_OF_SENTENCE, IMAGE_TAGS, PAD_TAG

SPECIAL_TOKENS = (BEGIN_OF_SENTENCE, END_OF_SENTENCE, PAD_TAG, *IMAGE_TAGS.values())
"""The release's tags under the release's names; ids 0 to 6 here."""
CONTEXT_LENGTH = 1024
"""Tokens that mini reads at most: its LLM's max_position_embeddings."""


def mini_processor(
    tokenizer: Tokenizer, *, image_size: int, num_image_tokens: int
) -> JanusFlowProcessor:
    """The processor around a tokenizer: no system prompt, images of `image_size` pixels."""
    return JanusFlowProcessor(
        JanusFlowImageProcessor(
            image_size=image_size, min_size=1, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, padding_side="left", model_max_length=CONTEXT_LENGTH
        ),
        num_image_tokens=num_image_tokens,
        system_prompt="",
    )


def train_tokenizer(*, vocab_size: int, num_texts: int, seed: int) -> Tokenizer:
    """Train on captions and questions of training scenes, half English and half Korean."""
    tokenizer = Tokenizer(models.BPE())
    # Korean may come in letters or in syllables, and must read alike.
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(num_texts, seed=seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_SENTENCE} $A",
        special_tokens=[(BEGIN_OF_SENTENCE, tokenizer.token_to_id(BEGIN_OF_SENTENCE))],
    )
    return tokenizer


def texts(num_texts: int, *, seed: int) -> Iterator[str]:
    """Conversations and captions of training scenes, as the model will read them."""
    for index in range(num_texts):
        rng = np.random.default_rng((seed, index))
        scene = sample_scene(rng)
        language = "en" if index % 2 == 0 else "ko"
        yield question_text(caption(scene, rng, language=language))
        for question in ask_all(scene, rng, language=language):
            yield f"{question_text(question.text)} {question.answer}"
