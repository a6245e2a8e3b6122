"""A byte-level BPE tokenizer for `mini`, trained on what its scenes can be called."""

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from janusflow.mini.captions import caption
from janusflow.mini.questions import ask_all
from janusflow.mini.scenes import sample_scene

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
PAD = "<｜▁pad▁｜>"
IMAGE = "<image_placeholder>"
BEGIN_OF_GENERATION = "<｜begin▁of▁generation｜>"
IMAGE_START = "<image_beg>"
IMAGE_END = "<image_end>"
SPECIAL_TOKENS = (BOS, EOS, PAD, IMAGE, BEGIN_OF_GENERATION, IMAGE_START, IMAGE_END)
"""The release's tags under the release's names; ids 0 to 6 here."""


def train_tokenizer(*, vocab_size: int, num_texts: int, seed: int) -> Tokenizer:
    """Train on captions and questions of training scenes, half English and half Korean."""
    tokenizer = Tokenizer(models.BPE())
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
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def texts(num_texts: int, *, seed: int) -> Iterator[str]:
    """Conversations and captions of training scenes, as the model will read them."""
    for index in range(num_texts):
        rng = np.random.default_rng((seed, index))
        scene = sample_scene(rng)
        language = "en" if index % 2 == 0 else "ko"
        yield f"User: {caption(scene, rng, language=language)}\n\nAssistant:"
        for question in ask_all(scene, rng, language=language):
            yield f"User: {question.text}\n\nAssistant: {question.answer}"
