"""Samples to batches: token rows of all kinds packed together, labels on what is to be learnt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from janusflow.config.errors import ConfigError, DataError, PromptError
from janusflow.data.batches.packing import pack
from janusflow.data.samples import GenerationSample, Sample, TextSample, Turn, UnderstandingSample
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.rows import PAD_SEGMENT, PREFIX_BRANCH, Rows, flat_positions
from janusflow.processing.templates import question_text
from janusflow.processing.tokenizer import encode_text

IGNORE_INDEX = -100
"""Label of a position that is not learnt, as PyTorch's cross entropy has it."""
NO_PROMPT_SEGMENT = -1
"""Where a token belongs to no prompt that may be hidden."""


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """The images to draw, in the rows' reading order.

    `prompt_of` says of every position which image's prompt it belongs to, the begin token left
    out because it is never hidden; NO_PROMPT_SEGMENT elsewhere.
    """

    pixel_values: Float[Tensor, "p c_pixel y_pixel x_pixel"] | None
    latents: Float[Tensor, "p c y x"] | None
    features: Float[Tensor, "p k w"] | None
    rewards: Float[Tensor, " p"] | None = None
    """These four are None unless all samples have them."""
    seeds: tuple[int, ...]
    prompts: tuple[str, ...]
    prompt_of: Int[Tensor, "b t"]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """Samples of any kinds, packed into rows; images come in the rows' reading order."""

    rows: Rows
    labels: Int[Tensor, "b t"]
    learnt_positions: Int[Tensor, " learnt"]
    """Of labels that are learnt; indices of the flattened rows."""
    is_text: Bool[Tensor, "b t"]
    """Tokens of plain texts."""
    pixel_values: Float[Tensor, "n c y x"] | None
    features: Float[Tensor, "n k w"] | None
    """The frozen tower's, instead of pixels where a cache holds them."""
    drawings: Drawings | None
    num_samples: int
    batch_stats: dict[str, int]
    """What the log adds up: samples by kind, tokens, positions (tokens and padding), images."""

    def __len__(self) -> int:
        return self.num_samples


@dataclass(kw_only=True)
class TokenRow:
    """One sample's tokens being put together."""

    token_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    is_drawing: list[bool] = field(default_factory=list)
    is_prompt: list[bool] = field(default_factory=list)
    is_cut: bool = False
    """Whether the end of a text, or the last turns of a chat, found no room."""

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(
        self,
        ids: list[int],
        *,
        branch: int = PREFIX_BRANCH,
        loss_mask: bool = False,
        is_drawing: bool = False,
        is_prompt: bool = False,
    ) -> None:
        """Append tokens; positions go on from the last token they can see."""
        seen = [
            position
            for position, other in zip(self.position_ids, self.branches, strict=True)
            if other in (PREFIX_BRANCH, branch)
        ]
        start = seen[-1] + 1 if seen else 0
        self.token_ids += ids
        self.labels += ids if loss_mask else [IGNORE_INDEX] * len(ids)
        self.branches += [branch] * len(ids)
        self.position_ids += range(start, start + len(ids))
        self.is_drawing += [is_drawing] * len(ids)
        self.is_prompt += [is_prompt] * len(ids)


class Built(NamedTuple):
    """A sample and its tokens."""

    sample: Sample
    row: TokenRow


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
        self.image_tag = _token(tokenizer, config.image_token_id)
        self.image_ids = [
            config.image_start_token_id,
            *[config.image_token_id] * num_patches,
            config.image_end_token_id,
        ]

    def __call__(self, samples: Sequence[Sample]) -> TrainBatch:
        """Build and pack samples."""
        return self.pack([self.build(sample) for sample in samples])

    def build(self, sample: Sample) -> Built:
        """Lay out a sample's tokens. A text that is too long is cut, a chat loses its last turns.

        Raises:
            DataError: tags stand where they must not, or not even the first turn fits into a row.
        """
        match sample:
            case GenerationSample():
                row = self.drawing(sample)
            case UnderstandingSample():
                row = self.conversation(sample)
            case TextSample():
                row = self.text(sample)
        if len(row) > self.row_tokens:
            raise DataError(
                f"a sample of {len(row)} tokens for rows of at most {self.row_tokens}: shorten it "
                "or raise mixture.row_tokens."
            )
        return Built(sample, row)

    def pack(self, built: Sequence[Built]) -> TrainBatch:
        """Lay samples end to end in rows; images come in the order the rows have them."""
        packed = pack([len(row) for _, row in built], row_tokens=self.row_tokens)
        in_order = [number for numbers in packed for number in numbers]
        samples = [built[number].sample for number in in_order]
        is_drawn = [isinstance(each, GenerationSample) for each in samples]
        image_of = dict(zip(in_order, accumulate(is_drawn), strict=True))

        def laid_out(values: Callable[[int], list[Any]], fill: Any) -> Tensor:
            rows = [[value for number in numbers for value in values(number)] for numbers in packed]
            length = max(map(len, rows))
            return torch.tensor([row + [fill] * (length - len(row)) for row in rows])

        def prompt_of(number: int) -> list[int]:
            is_prompt = built[number].row.is_prompt
            return [image_of[number] - 1 if each else NO_PROMPT_SEGMENT for each in is_prompt]

        token_ids = laid_out(lambda i: built[i].row.token_ids, self.config.pad_token_id)
        labels = laid_out(lambda i: built[i].row.labels, IGNORE_INDEX)
        is_drawing = laid_out(lambda i: built[i].row.is_drawing, False)
        num_tokens = sum(len(row) for _, row in built)
        return TrainBatch(
            rows=Rows(
                token_ids=token_ids,
                position_ids=laid_out(lambda i: built[i].row.position_ids, 0),
                segment_ids=laid_out(lambda i: [i] * len(built[i].row), PAD_SEGMENT),
                branches=laid_out(lambda i: built[i].row.branches, PREFIX_BRANCH),
                is_drawing=is_drawing,
                drawing_positions=flat_positions(is_drawing),
            ),
            labels=labels,
            learnt_positions=flat_positions(labels != IGNORE_INDEX),
            is_text=laid_out(
                lambda i: [isinstance(built[i].sample, TextSample)] * len(built[i].row), False
            ),
            **_images(samples),
            drawings=_drawings(samples, laid_out(prompt_of, NO_PROMPT_SEGMENT)),
            num_samples=len(built),
            batch_stats=_batch_stats(samples)
            | {"tokens": num_tokens, "positions": token_ids.numel()},
        )

    def drawing(self, sample: GenerationSample) -> TokenRow:
        """A prompt, then room for the time token and the image's; nothing of it is a word."""
        row = TokenRow()
        row.add([self.config.bos_token_id])
        words = self._words(question_text(sample.prompt), num_images=len(sample.images))
        row.add(words, is_prompt=True)
        room = 1 + self.config.generation.num_tokens
        row.add([self.config.pad_token_id] * room, is_drawing=True)
        return row

    def conversation(self, sample: UnderstandingSample) -> TokenRow:
        """Images and turns; labels stand on the answers."""
        before, after = question_text("\0").split("\0")
        system = f"{sample.system.strip()}\n\n" if sample.system else ""
        num_images = len(sample.images)
        num_placed = sum(turn.question.count(self.image_tag) for turn in sample.turns)
        if num_placed not in (0, num_images) or (num_placed and sample.are_independent):
            raise DataError(
                f"{num_placed} {self.image_tag} in the questions for {num_images} images: "
                "place all of them, in turns that see one another, or none."
            )
        shown = "" if num_placed else "\n".join([self.image_tag] * num_images)
        row = TokenRow()
        row.add([self.config.bos_token_id])
        if shown:
            row.add(self._words(system + before + shown, num_images=num_images))
        for index, turn in enumerate(sample.turns):
            is_first = index == 0 or sample.are_independent
            opens = "\n" if shown and is_first else (system if is_first else "") + before
            branch = index + 1 if sample.are_independent else PREFIX_BRANCH
            num_here = turn.question.count(self.image_tag)
            asked = self._words(opens + turn.question + after, num_images=num_here)
            answer = [*self._words(f" {turn.answer}", num_images=0), self.end_of_answer]
            is_too_long = len(row) + len(asked) + len(answer) > self.row_tokens
            if index and is_too_long and not any_placed(sample.turns[index:], self.image_tag):
                row.is_cut = True
                break
            row.add(asked, branch=branch)
            row.add(answer, branch=branch, loss_mask=True)
        return row

    def text(self, sample: TextSample) -> TokenRow:
        """Plain text between BOS and EOS, all of it learnt; EOS is missing where it was cut."""
        row = TokenRow()
        row.add([self.config.bos_token_id])
        words = [*self._words(sample.text, num_images=0), self.end_of_answer]
        row.add(words[: self.row_tokens - 1], loss_mask=True)
        row.is_cut = len(words) > self.row_tokens - 1
        return row

    def _words(self, text: str, *, num_images: int) -> list[int]:
        """Token ids of a text, every placeholder made an image's span.

        Raises:
            DataError: the text holds tags that would be taken for images.
        """
        image_id = self.config.image_token_id
        try:
            ids = encode_text(self.tokenizer, text, allowed=(self.image_tag,))
        except PromptError as error:
            raise DataError(str(error)) from None
        if ids.count(image_id) != num_images:
            raise DataError(
                f"{text!r:.80} holds a tag that belongs to the model: only {self.image_tag} may "
                "stand in questions, once for each image."
            )
        spans = (self.image_ids if each == image_id else [each] for each in ids)
        return [each for span in spans for each in span]


def _token(tokenizer: Tokenizer, token_id: int) -> str:
    token = tokenizer.id_to_token(token_id)
    if token is None:
        raise ConfigError(
            f"the tokenizer has no token {token_id}, which the model's image_token_id names: take "
            "the processor that belongs to the model."
        )
    return token


def any_placed(turns: Sequence[Turn], image_tag: str) -> bool:
    """Tell whether an image stands in one of these questions."""
    return any(image_tag in turn.question for turn in turns)


def _batch_stats(samples: Sequence[Sample]) -> dict[str, int]:
    """Samples by kind (a conversation without images is text), and their images."""
    num_seen = [len(s.images) for s in samples if isinstance(s, UnderstandingSample)]
    num_conditions = sum(len(s.images) for s in samples if isinstance(s, GenerationSample))
    num_drawn = sum(isinstance(each, GenerationSample) for each in samples)
    num_understanding = sum(num > 0 for num in num_seen)
    return {
        "understanding": num_understanding,
        "generation": num_drawn,
        "text": len(samples) - num_understanding - num_drawn,
        "understanding_images": sum(num_seen) + num_conditions,
        "generation_images": num_drawn,
    }


def _images(samples: Sequence[Sample]) -> dict[str, Tensor | None]:
    seen = [each for each in samples if not isinstance(each, TextSample)]
    images = [image for each in seen for image in each.images]
    return {
        "pixel_values": _stacked([each if each.ndim == 3 else None for each in images]),
        "features": _stacked([each if each.ndim == 2 else None for each in images]),
    }


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """One batch of them, if none is missing."""
    there = [each for each in tensors if each is not None]
    return torch.stack(there) if there and len(there) == len(tensors) else None


def _drawings(samples: Sequence[Sample], prompt_of: Int[Tensor, "b t"]) -> Drawings | None:
    drawn = [each for each in samples if isinstance(each, GenerationSample)]
    if not drawn:
        return None
    rewards = [each.reward for each in drawn if each.reward is not None]
    return Drawings(
        rewards=torch.tensor(rewards) if len(rewards) == len(drawn) else None,
        pixel_values=_stacked([each.pixel_values for each in drawn]),
        latents=_stacked([each.latent for each in drawn]),
        features=_stacked([each.features for each in drawn]),
        seeds=tuple(each.seed for each in drawn),
        prompts=tuple(each.prompt for each in drawn),
        prompt_of=prompt_of,
    )
