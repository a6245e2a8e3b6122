"""Samples to batches: token rows, labels on what is to be learnt, pictures stacked.

Rows of conversations and texts are padded on the right with masked positions; prompts are
padded on the left, because the time token follows their last token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from janusflow.data.samples import GenerationSample, Sample, TextSample, UnderstandingSample
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.prompt import Prompt, left_padded
from janusflow.processing.templates import (
    ASSISTANT,
    RELEASE_TEMPLATE,
    USER,
    Message,
    format_conversation,
)

IGNORED = -100
"""Label of a position that is not learnt, as PyTorch's cross entropy has it."""


SHARED = 0
"""Segment every later token of its row may look at."""
PADDING = -1
"""Segment of positions that hold nothing."""


@dataclass(frozen=True, kw_only=True)
class TextRows:
    """Conversations and texts for next-token prediction.

    A token sees the earlier tokens of its own segment and of segment 0. Positions count on from
    the end of segment 0 in every segment, so a segment reads as if the others were not there.
    """

    token_ids: Int[Tensor, "b t"]
    labels: Int[Tensor, "b t"]
    segments: Int[Tensor, "b t"]
    position_ids: Int[Tensor, "b t"]
    pixel_values: Float[Tensor, "n c y x"] | None

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, kw_only=True)
class DrawingRows:
    """Prompts and the pictures to draw."""

    prompt: Prompt
    latents: Float[Tensor, "b c y x"]
    pixel_values: Float[Tensor, "b c_pixel y_pixel x_pixel"]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """One step's samples by what the model does with them."""

    reading: TextRows | None
    drawing: DrawingRows | None

    def __len__(self) -> int:
        return len(self.reading or ()) + len(self.drawing or ())


@dataclass(kw_only=True)
class Row:
    """One row of tokens being put together."""

    token_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)

    def add(self, ids: list[int], *, segment: int = SHARED, is_learnt: bool = False) -> None:
        """Append tokens; positions go on from the last token they can see."""
        seen = [
            position
            for position, other in zip(self.position_ids, self.segments, strict=True)
            if other in (SHARED, segment)
        ]
        start = seen[-1] + 1 if seen else 0
        self.token_ids += ids
        self.labels += ids if is_learnt else [IGNORED] * len(ids)
        self.segments += [segment] * len(ids)
        self.position_ids += range(start, start + len(ids))


class Collator:
    """Turns samples into a batch with one tokenizer and one model's special ids."""

    def __init__(self, tokenizer: Tokenizer, config: JanusFlowConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        vision = config.vision_config
        num_patches = (vision.image_size // vision.patch_size) ** 2
        ends = config.eos_token_id
        self.end_of_answer = ends if isinstance(ends, int) else ends[0]
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

    def conversation(self, sample: UnderstandingSample) -> "Row":
        """A picture and its turns; labels stand on the answers."""
        before, after = question_text("\0").split("\0")
        row = Row()
        row.add([self.config.bos_token_id, *self._encode(before), *self.image_ids])
        for index, turn in enumerate(sample.turns):
            opens = "\n" if index == 0 or sample.are_independent else before
            segment = index + 1 if sample.are_independent else SHARED
            row.add(self._encode(opens + turn.question + after), segment=segment)
            answer = [*self._encode(f" {turn.answer}"), self.end_of_answer]
            row.add(answer, segment=segment, is_learnt=True)
        return row

    def text(self, sample: TextSample) -> "Row":
        """Plain text between BOS and EOS, all of it learnt."""
        row = Row()
        row.add([self.config.bos_token_id])
        row.add([*self._encode(sample.text), self.end_of_answer], is_learnt=True)
        return row

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _reading(self, samples: Sequence[UnderstandingSample | TextSample]) -> TextRows:
        rows = [
            self.text(sample) if isinstance(sample, TextSample) else self.conversation(sample)
            for sample in samples
        ]
        length = max(len(row.token_ids) for row in rows)
        pictures = [s.pixel_values for s in samples if isinstance(s, UnderstandingSample)]
        pad = self.config.pad_token_id
        return TextRows(
            token_ids=_right_padded([row.token_ids for row in rows], length, pad),
            labels=_right_padded([row.labels for row in rows], length, IGNORED),
            segments=_right_padded([row.segments for row in rows], length, PADDING),
            position_ids=_right_padded([row.position_ids for row in rows], length, 0),
            pixel_values=torch.stack(pictures) if pictures else None,
        )

    def _drawing(self, samples: Sequence[GenerationSample]) -> DrawingRows:
        rows = [self.prompt_ids(sample.prompt) for sample in samples]
        return DrawingRows(
            prompt=left_padded(rows, pad_token_id=self.config.pad_token_id),
            latents=torch.stack([sample.latent for sample in samples]),
            pixel_values=torch.stack([sample.pixel_values for sample in samples]),
            seeds=tuple(sample.seed for sample in samples),
        )


def question_text(question: str) -> str:
    """One turn of the release's chat format, up to where the answer starts."""
    messages: list[Message] = [
        {"role": USER, "content": question},
        {"role": ASSISTANT, "content": ""},
    ]
    return format_conversation(messages, system_prompt="", template=RELEASE_TEMPLATE)


def segment_mask(segments: Int[Tensor, "b t"]) -> Float[Tensor, "b 1 t t"]:
    """Additive attention mask: 0 where a row's token sees a column's, else the lowest float."""
    length = segments.shape[1]
    is_earlier = torch.ones(length, length, dtype=torch.bool).tril()
    is_same = segments[:, :, None] == segments[:, None]
    is_seen = is_earlier & (is_same | (segments == SHARED)[:, None])
    mask = torch.zeros(is_seen.shape).masked_fill(~is_seen, torch.finfo(torch.float32).min)
    return mask[:, None]


def _right_padded(rows: list[list[int]], length: int, fill: int) -> Int[Tensor, "b t"]:
    return torch.tensor([row + [fill] * (length - len(row)) for row in rows])
