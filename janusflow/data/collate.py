"""Samples to batches: token rows, labels on what is to be learnt, pictures stacked.

Rows of conversations and texts are padded on the right with masked positions; prompts are
padded on the left, because the time token follows their last token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from janusflow.data.samples import GenerationSample, Sample, TextSample, Turn, UnderstandingSample
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.prompt import Prompt, left_padded

IGNORED = -100
"""Label of a position that is not learnt, as PyTorch's cross entropy has it."""


@dataclass(frozen=True, kw_only=True)
class TextRows:
    """Conversations and texts for next-token prediction."""

    token_ids: Int[Tensor, "b t"]
    attention_mask: Int[Tensor, "b t"]
    labels: Int[Tensor, "b t"]
    pixel_values: Float[Tensor, "n c y x"] | None

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, kw_only=True)
class DrawingRows:
    """Prompts and the pictures to draw."""

    prompt: Prompt
    latents: Float[Tensor, "b c y x"]
    pixel_values: Float[Tensor, "b c_pixel y_pixel x_pixel"]

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """One step's samples by what the model does with them."""

    reading: TextRows | None
    drawing: DrawingRows | None

    def __len__(self) -> int:
        return len(self.reading or ()) + len(self.drawing or ())


class Collator:
    """Turns samples into a batch with one tokenizer and one model's special ids."""

    def __init__(self, tokenizer: Tokenizer, config: JanusFlowConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        vision = config.vision_config
        num_patches = (vision.image_size // vision.patch_size) ** 2
        self.image_ids = [
            config.image_start_token_id,
            *[config.image_token_id] * num_patches,
            config.image_end_token_id,
        ]

    def __call__(self, samples: Sequence[Sample]) -> TrainBatch:
        """Group samples by kind; each group becomes one rectangle of rows."""
        drawing = [s for s in samples if isinstance(s, GenerationSample)]
        reading = [s for s in samples if not isinstance(s, GenerationSample)]
        return TrainBatch(
            reading=self._reading(reading) if reading else None,
            drawing=self._drawing(drawing) if drawing else None,
        )

    def prompt_ids(self, prompt: str) -> list[int]:
        """The drawing prompt as the model reads it, without the begin-of-image token."""
        return [self.config.bos_token_id, *self._encode(question_text(prompt))]

    def conversation_ids(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Token ids of a conversation about one picture, and labels on its answers."""
        ids, labels = [self.config.bos_token_id], [IGNORED]
        for index, turn in enumerate(turns):
            asked = self._asked(turn.question, with_picture=index == 0)
            answered = [*self._encode(f" {turn.answer}"), self.config.eos_token_id]
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
        return ids, labels

    def _asked(self, question: str, *, with_picture: bool) -> list[int]:
        if not with_picture:
            return self._encode(question_text(question))
        before, after = question_text("\0" + question).split("\0")
        return [*self._encode(before), *self.image_ids, *self._encode("\n" + after)]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _row(self, sample: UnderstandingSample | TextSample) -> tuple[list[int], list[int]]:
        if isinstance(sample, UnderstandingSample):
            return self.conversation_ids(sample.turns)
        ids = [
            self.config.bos_token_id,
            *self._encode(sample.text),
            self.config.eos_token_id,
        ]
        return ids, [IGNORED, *ids[1:]]

    def _reading(self, samples: Sequence[UnderstandingSample | TextSample]) -> TextRows:
        rows = [self._row(sample) for sample in samples]
        length = max(len(ids) for ids, _ in rows)
        pictures = [s.pixel_values for s in samples if isinstance(s, UnderstandingSample)]
        return TextRows(
            token_ids=_right_padded([ids for ids, _ in rows], length, self.config.pad_token_id),
            attention_mask=_right_padded([[1] * len(ids) for ids, _ in rows], length, 0),
            labels=_right_padded([labels for _, labels in rows], length, IGNORED),
            pixel_values=torch.stack(pictures) if pictures else None,
        )

    def _drawing(self, samples: Sequence[GenerationSample]) -> DrawingRows:
        rows = [self.prompt_ids(sample.prompt) for sample in samples]
        return DrawingRows(
            prompt=left_padded(rows, pad_token_id=self.config.pad_token_id),
            latents=torch.stack([sample.latent for sample in samples]),
            pixel_values=torch.stack([sample.pixel_values for sample in samples]),
        )


def question_text(question: str) -> str:
    """One turn of the release's chat format, up to where the answer starts."""
    return f"User: {question}\n\nAssistant:"


def _right_padded(rows: list[list[int]], length: int, fill: int) -> Int[Tensor, "b t"]:
    return torch.tensor([row + [fill] * (length - len(row)) for row in rows])
