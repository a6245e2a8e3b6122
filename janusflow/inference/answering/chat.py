"""Questions as people ask them, answers in pieces, and how likely a given one is."""

from collections import deque
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature

from janusflow.config.errors import NotFiniteError, PromptError
from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.answering.decoding import require_context
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.images import ImageInput
from janusflow.processing.processor import JanusFlowProcessor, MessageLike

Message: TypeAlias = MessageLike
"""{"role": "user", "content": text or parts}, in OpenAI's shape or the release's."""
Images: TypeAlias = ImageInput | Sequence[ImageInput] | None
ImagesPerQuestion: TypeAlias = Images | Sequence[Images]
Questions: TypeAlias = str | Sequence[str] | Any
"""One or several. Any: `pair_questions` says what is wrong with an image in their place."""


def stream_text(
    batch: AnswerBatch, inputs: BatchFeature, request: QuestionRequest
) -> Iterator[str]:
    """Answer one conversation piece by piece; joined and stripped, they are its answer."""
    pieces: deque[str] = deque()
    request.on_piece = pieces.append
    batch.add(inputs, [request])
    while batch.answers:
        batch.choose()
        while pieces:
            yield pieces.popleft()
        batch.read()
    request.result(0.0)  # raises what went wrong


@torch.no_grad()
def log_likelihoods(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    inputs: BatchFeature,
    answers: Sequence[str],
) -> list[float]:
    """Natural logarithm of the probability that each conversation is answered so, end included.

    Raises:
        PromptError: conversation and answer are longer than the model's context.
        NotFiniteError: the model gives no finite number.
    """
    words = [processor.tokenizer.encode(f" {each}", add_special_tokens=False) for each in answers]
    tokens = pad_sequence(
        [torch.tensor([*each, processor.eos_token_id]) for each in words],
        batch_first=True,
        padding_value=processor.pad_token_id,
    )
    length = tokens.shape[1]
    is_answer = torch.arange(length) <= torch.tensor([[len(each)] for each in words])
    token_ids, mask = inputs["input_ids"], inputs["attention_mask"]
    pixels = inputs.get("pixel_values")
    require_context(token_ids.shape[1], model.config, more=length)
    logits = model(
        torch.cat([token_ids, tokens], dim=1).to(model.device),
        attention_mask=torch.cat([mask, is_answer.to(mask.dtype)], dim=1).to(model.device),
        pixel_values=None if pixels is None else pixels.to(model.device),
        use_cache=False,
        logits_to_keep=length + 1,
    ).logits[:, :-1]
    # float32: bfloat16 probabilities of a large vocabulary do not sum to 1.
    chances = logits.float().log_softmax(-1).gather(-1, tokens[..., None].to(model.device))[..., 0]
    totals = chances.masked_fill(~is_answer.to(model.device), 0.0).sum(1).tolist()
    for total, answer in zip(totals, answers, strict=True):
        if not isfinite(total):
            raise NotFiniteError(
                f"log-likelihood {total} of the answer {answer!r:.40}: weights are damaged, or too "
                "large for the dtype (try dtype=float32)."
            )
    return totals


def question_message(images: Sequence[ImageInput], question: str) -> Message:
    """A user's message: the images, then the question."""
    parts = [{"type": "image", "image": image} for image in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def as_images(images: ImagesPerQuestion) -> list[Any]:
    """One image, several or none, as a list."""
    if images is None:
        return []
    return [images] if isinstance(images, ImageInput) else list(images)


def pair_questions(
    images: ImagesPerQuestion, question: Questions
) -> list[tuple[list[ImageInput], str]]:
    """Every question with the images that are shown with it.

    Raises:
        PromptError: a question is no text, or there is another number of entries of images.
    """
    questions = [question] if isinstance(question, str) else question
    for one in questions if isinstance(questions, Sequence) else [questions]:
        if not isinstance(one, str):
            told = "image" if isinstance(one, Image.Image | Path | bytes) else type(one).__name__
            raise PromptError(
                f"got {'an' if told == 'image' else 'a value of type'} {told} for the question: "
                "the image comes first, then the question, as in ask(image, 'What is it?')."
            )
    if isinstance(question, str):
        return [(as_images(images), question)]
    if images is None or isinstance(images, ImageInput):
        return [(as_images(images), one) for one in questions]
    entries = list(images)
    if len(entries) != len(questions):
        raise PromptError(
            f"{len(questions)} questions but {len(entries)} entries of images: give one entry a "
            "question (an image, a list of them, or None), or one image for all."
        )
    return [(as_images(entry), one) for entry, one in zip(entries, questions, strict=True)]
