"""Claims about prompts: left padding moves nothing, the unconditional branch sees BOS only."""

import torch

from janusflow.model.prompt import left_padded, stack, unconditional

BOS, PAD = 1, 9


def test_rows_end_in_the_same_column_and_count_from_their_first_token():
    prompt = left_padded([[BOS, 5, 6], [BOS]], pad_token_id=PAD)
    assert prompt.token_ids.tolist() == [[BOS, 5, 6], [PAD, PAD, BOS]]
    assert prompt.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert prompt.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]


def test_the_unconditional_branch_sees_the_first_token_only_and_keeps_positions():
    prompt = left_padded([[BOS, 5, 6], [BOS, 7]], pad_token_id=PAD)
    free = unconditional(prompt)
    assert free.attention_mask.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert torch.equal(free.position_ids, prompt.position_ids)
    assert prompt.attention_mask.tolist() == [[1, 1, 1], [0, 1, 1]]


def test_stacking_pads_the_shorter_batch():
    short = left_padded([[BOS, 5]], pad_token_id=PAD)
    long = left_padded([[BOS, 6, 7, 8]], pad_token_id=PAD)
    both = stack([short, long], pad_token_id=PAD)
    alone = left_padded([[BOS, 5], [BOS, 6, 7, 8]], pad_token_id=PAD)
    assert torch.equal(both.token_ids, alone.token_ids)
    assert torch.equal(both.attention_mask, alone.attention_mask)
    assert torch.equal(both.position_ids, alone.position_ids)
    assert len(both) == 4
