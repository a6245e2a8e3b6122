"""Conversations to text: embed what the processor prepared, choose tokens, decode them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import PromptError
from janusflow.inference.answering.decoding import (
    AnsweringSettings,
    TextPieces,
    answer_tokens,
    read_embeds,
)
from janusflow.model.attention import number_images
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache
from janusflow.processing.batches import ConversationBatch
from janusflow.processing.images import ImageInput
from janusflow.processing.processor import JanusFlowProcessor

Message: TypeAlias = Mapping[str, Any]
"""{"role": "user", "content": text or parts}, in OpenAI's shape or the release's."""
Images: TypeAlias = ImageInput | Sequence[ImageInput] | None
ImagesPerQuestion: TypeAlias = Images | Sequence[Images]


def answer_texts(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    batch: ConversationBatch,
    *,
    settings: AnsweringSettings,
    seeds: Sequence[int],
) -> list[str]:
    """Answer every conversation of a batch, each drawn from its own seed."""
    answers: list[list[int]] = [[] for _ in batch.token_ids]
    for tokens in _tokens(model, batch, settings, seeds):
        for answer, token in zip(answers, tokens, strict=True):
            if token is not None:
                answer.append(token)
    return [processor.decode(answer).strip() for answer in answers]


def stream_text(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    batch: ConversationBatch,
    *,
    settings: AnsweringSettings,
    seed: int,
) -> Iterator[str]:
    """Answer one conversation piece by piece; joined and stripped, they are its answer."""
    pieces = AnswerPieces(processor.decode)
    for (token,) in _tokens(model, batch, settings, [seed]):
        piece = "" if token is None else pieces.add(token)
        if piece:
            yield piece
    rest = pieces.finish()
    if rest:
        yield rest


class AnswerPieces:
    """An answer's text as its tokens come, without the space before its first word.

    The template ends in "Assistant:", so answers begin with one.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.pieces = TextPieces(decode)
        self.has_begun = False

    def add(self, token_id: int) -> str:
        """Take one token; give the text that is certain now, which may be nothing."""
        return self._without_space_before(self.pieces.add(token_id))

    def finish(self) -> str:
        """Give what was held back."""
        return self._without_space_before(self.pieces.finish())

    def _without_space_before(self, piece: str) -> str:
        piece = piece if self.has_begun else piece.lstrip()
        self.has_begun = self.has_begun or bool(piece)
        return piece


def read_batch(
    model: JanusFlowForConditionalGeneration, batch: ConversationBatch
) -> tuple[Float[Tensor, "b v"], PrefixCache]:
    """Read conversations: the logits of their first tokens, and the cache to go on from."""
    return read_embeds(
        model,
        _embed(model, batch),
        batch.attention_mask.to(model.device),
        images=number_images(batch.token_ids.to(model.device), model.config),
    )


@torch.no_grad()
def log_likelihood(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    batch: ConversationBatch,
    answer: str,
) -> float:
    """Natural logarithm of the probability that a batch of one is answered so, its end included."""
    words = processor.tokenizer.encode(f" {answer}", add_special_tokens=False)
    own = torch.tensor([[*words, processor.eos_token_id]])
    token_ids = torch.cat([batch.token_ids, own], dim=1)
    attention_mask = torch.cat([batch.attention_mask, torch.ones_like(own)], dim=1)
    pixels = batch.pixel_values
    logits = model(
        token_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        pixel_values=None if pixels is None else pixels.to(model.device),
        use_cache=False,
    ).logits
    length = own.shape[1]
    # float32: bfloat16 probabilities of a large vocabulary do not sum to 1.
    chances = logits[0, -length - 1 : -1].float().log_softmax(-1)
    return float(chances.gather(1, own[0, :, None].to(model.device)).sum())


def _tokens(
    model: JanusFlowForConditionalGeneration,
    batch: ConversationBatch,
    settings: AnsweringSettings,
    seeds: Sequence[int],
) -> Iterator[list[int | None]]:
    embeds = _embed(model, batch)
    images = number_images(batch.token_ids.to(model.device), model.config)
    attention_mask = batch.attention_mask.to(model.device)
    return answer_tokens(
        model, embeds, attention_mask, settings=settings, seeds=seeds, images=images
    )


@torch.no_grad()
def _embed(
    model: JanusFlowForConditionalGeneration, batch: ConversationBatch
) -> Float[Tensor, "b t d"]:
    pixels = batch.pixel_values
    return model.embed_conversation(
        batch.token_ids.to(model.device), None if pixels is None else pixels.to(model.device)
    )


def question_message(images: Sequence[ImageInput], question: str) -> Message:
    """A user's message: the images, then the question."""
    parts = [{"type": "image", "image": image} for image in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def as_images(images: ImagesPerQuestion) -> list[Any]:
    """One image, several or none, as a list."""
    if images is None:
        return []
    return [images] if isinstance(images, ImageInput) else list(images)


def pair(images: ImagesPerQuestion, questions: Sequence[str]) -> list[tuple[list[ImageInput], str]]:
    """Every question with the images that are shown with it."""
    if images is None or isinstance(images, ImageInput):
        return [(as_images(images), question) for question in questions]
    entries = list(images)
    if len(entries) != len(questions):
        raise PromptError(
            f"{len(questions)} questions but {len(entries)} entries of images: give one entry a "
            "question (an image, a list of them, or None), or one image for all."
        )
    return [
        (as_images(entry), question) for entry, question in zip(entries, questions, strict=True)
    ]
