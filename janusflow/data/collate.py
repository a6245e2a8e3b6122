"""Samples to batches: token rows of all kinds packed together, labels on what is to be learnt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from janusflow.data.packing import pack
from janusflow.data.samples import GenerationSample, Sample, TextSample, UnderstandingSample
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.rows import NOBODY, SHARED, Rows
from janusflow.processing.templates import (
    ASSISTANT,
    RELEASE_TEMPLATE,
    USER,
    Message,
    format_conversation,
)

IGNORED = -100
"""Label of a position that is not learnt, as PyTorch's cross entropy has it."""
NO_PROMPT = -1
"""Where a token belongs to no prompt that may be hidden."""


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """The pictures to draw, in the rows' reading order.

    `prompt_of` says of every position which picture's prompt it belongs to, the begin token left
    out because it is never hidden; NO_PROMPT elsewhere.
    """

    latents: Float[Tensor, "p c y x"]
    pixel_values: Float[Tensor, "p c_pixel y_pixel x_pixel"]
    seeds: tuple[int, ...]
    prompt_of: Int[Tensor, "b t"]

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """Samples of any kinds, packed into rows; pictures come in the rows' reading order."""

    rows: Rows
    labels: Int[Tensor, "b t"]
    pixel_values: Float[Tensor, "n c y x"] | None
    drawings: Drawings | None
    num_samples: int

    def __len__(self) -> int:
        return self.num_samples


@dataclass(kw_only=True)
class Row:
    """One sample's tokens being put together."""

    token_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    is_drawing: list[bool] = field(default_factory=list)
    is_prompt: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(
        self,
        ids: list[int],
        *,
        branch: int = SHARED,
        is_learnt: bool = False,
        is_drawing: bool = False,
        is_prompt: bool = False,
    ) -> None:
        """Append tokens; positions go on from the last token they can see."""
        seen = [
            position
            for position, other in zip(self.position_ids, self.branches, strict=True)
            if other in (SHARED, branch)
        ]
        start = seen[-1] + 1 if seen else 0
        self.token_ids += ids
        self.labels += ids if is_learnt else [IGNORED] * len(ids)
        self.branches += [branch] * len(ids)
        self.position_ids += range(start, start + len(ids))
        self.is_drawing += [is_drawing] * len(ids)
        self.is_prompt += [is_prompt] * len(ids)


class Collator:
    """Turns samples into a batch, with one tokenizer and one model's special ids.

    A row holds as many samples as fit into `row_tokens` (the paper packs to 4,096).
    """

    def __init__(self, tokenizer: Tokenizer, config: JanusFlowConfig, *, row_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.row_tokens = row_tokens
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
        """Pack samples into rows.

        Raises:
            DataError: a sample is longer than a row may be.
        """
        built = [self.row(sample) for sample in samples]
        packed = pack([len(row) for row in built], row_tokens=self.row_tokens)
        in_order = [number for numbers in packed for number in numbers]
        drawn = {i: s for i in in_order if isinstance(s := samples[i], GenerationSample)}
        numbering = {i: picture for picture, i in enumerate(drawn)}

        def laid_out(values: Callable[[int], list[Any]], fill: Any) -> Tensor:
            rows = [[value for number in numbers for value in values(number)] for numbers in packed]
            length = max(map(len, rows))
            return torch.tensor([row + [fill] * (length - len(row)) for row in rows])

        def prompt_of(number: int) -> list[int]:
            picture = numbering.get(number, NO_PROMPT)
            return [picture if is_prompt else NO_PROMPT for is_prompt in built[number].is_prompt]

        return TrainBatch(
            rows=Rows(
                token_ids=laid_out(lambda i: built[i].token_ids, self.config.pad_token_id),
                position_ids=laid_out(lambda i: built[i].position_ids, 0),
                samples=laid_out(lambda i: [i] * len(built[i]), NOBODY),
                branches=laid_out(lambda i: built[i].branches, SHARED),
                is_drawing=laid_out(lambda i: built[i].is_drawing, False),
            ),
            labels=laid_out(lambda i: built[i].labels, IGNORED),
            pixel_values=_pictures([samples[number] for number in in_order]),
            drawings=_drawings(list(drawn.values()), laid_out(prompt_of, NO_PROMPT)),
            num_samples=len(samples),
        )

    def row(self, sample: Sample) -> Row:
        """One sample's tokens."""
        match sample:
            case GenerationSample():
                return self.drawing(sample)
            case UnderstandingSample():
                return self.conversation(sample)
            case TextSample():
                return self.text(sample)

    def drawing(self, sample: GenerationSample) -> Row:
        """A prompt, then room for the time token and the picture's; nothing of it is a word."""
        row = Row()
        row.add([self.config.bos_token_id])
        row.add(self._encode(question_text(sample.prompt)), is_prompt=True)
        room = 1 + self.config.flow.num_tokens
        row.add([self.config.pad_token_id] * room, is_drawing=True)
        return row

    def conversation(self, sample: UnderstandingSample) -> Row:
        """A picture and its turns; labels stand on the answers."""
        before, after = question_text("\0").split("\0")
        row = Row()
        row.add([self.config.bos_token_id, *self._encode(before), *self.image_ids])
        for index, turn in enumerate(sample.turns):
            opens = "\n" if index == 0 or sample.are_independent else before
            branch = index + 1 if sample.are_independent else SHARED
            row.add(self._encode(opens + turn.question + after), branch=branch)
            answer = [*self._encode(f" {turn.answer}"), self.end_of_answer]
            row.add(answer, branch=branch, is_learnt=True)
        return row

    def text(self, sample: TextSample) -> Row:
        """Plain text between BOS and EOS, all of it learnt."""
        row = Row()
        row.add([self.config.bos_token_id])
        row.add([*self._encode(sample.text), self.end_of_answer], is_learnt=True)
        return row

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def question_text(question: str) -> str:
    """One turn of the release's chat format, up to where the answer starts."""
    messages: list[Message] = [
        {"role": USER, "content": question},
        {"role": ASSISTANT, "content": ""},
    ]
    return format_conversation(messages, system_prompt="", template=RELEASE_TEMPLATE)


def _pictures(samples: Sequence[Sample]) -> Float[Tensor, "n c y x"] | None:
    pictures = [each.pixel_values for each in samples if isinstance(each, UnderstandingSample)]
    return torch.stack(pictures) if pictures else None


def _drawings(
    samples: Sequence[GenerationSample], prompt_of: Int[Tensor, "b t"]
) -> Drawings | None:
    if not samples:
        return None
    return Drawings(
        latents=torch.stack([each.latent for each in samples]),
        pixel_values=torch.stack([each.pixel_values for each in samples]),
        seeds=tuple(each.seed for each in samples),
        prompt_of=prompt_of,
    )
