"""What the processor hands to the engine: rectangles of token ids and the images they mention."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ConversationBatch:
    """Conversations ready to be read, padded on the left; image spans already expanded."""

    token_ids: Int[Tensor, "b t"]
    attention_mask: Int[Tensor, "b t"]
    pixel_values: Float[Tensor, "n c y x"] | None
    """All images of the batch in reading order (row by row); None without images."""
    images_per_row: tuple[int, ...]
    """How many of the images belong to each conversation."""


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Prompts for drawing WITHOUT begin-of-image token (the time token takes its place).

    Padded on the left; position ids count from each row's first real token.
    """

    token_ids: Int[Tensor, "b t"]
    attention_mask: Int[Tensor, "b t"]
    position_ids: Int[Tensor, "b t"]


def expanded(token_ids: Sequence[int], *, placeholder: int, span: Sequence[int]) -> list[int]:
    """Token ids with an image's whole span in place of each placeholder."""
    return [
        token_id
        for original in token_ids
        for token_id in (span if original == placeholder else (original,))
    ]


def left_padded(
    rows: Sequence[Sequence[int]], *, pad_token_id: int
) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"]]:
    """Token ids and attention mask of rows brought to one length by padding on the left.

    On the left, so that every row's last token, from which the answer continues, sits in the same
    column.
    """
    length = max(len(row) for row in rows)
    token_ids = [[pad_token_id] * (length - len(row)) + list(row) for row in rows]
    attention_mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(token_ids), torch.tensor(attention_mask)


def prompt_batch(rows: Sequence[Sequence[int]], *, pad_token_id: int) -> PromptBatch:
    """Token rows of prompts as one batch."""
    token_ids, attention_mask = left_padded(rows, pad_token_id=pad_token_id)
    return PromptBatch(
        token_ids=token_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0),
    )
