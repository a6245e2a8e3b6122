"""Claims about prompts: left padding moves nothing, the unconditional branch sees BOS only."""

import pytest
import torch
from tiny_model import padded_prompt
from transformers import DynamicCache, MistralConfig

from janusflow.config.errors import ConfigError
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, join, unconditional, with_unconditional

BOS, PAD = 1, 9


def test_rows_end_in_the_same_column_and_count_from_their_first_token():
    prompt = padded_prompt([[BOS, 5, 6], [BOS]], pad_token_id=PAD)
    assert prompt.token_ids.tolist() == [[BOS, 5, 6], [PAD, PAD, BOS]]
    assert prompt.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert prompt.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]


def test_the_unconditional_branch_sees_the_first_token_only_and_keeps_positions():
    prompt = padded_prompt([[BOS, 5, 6], [BOS, 7]], pad_token_id=PAD)
    free = unconditional(prompt)
    assert free.attention_mask.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert torch.equal(free.position_ids, prompt.position_ids)
    assert prompt.attention_mask.tolist() == [[1, 1, 1], [0, 1, 1]]


def test_unconditional_rows_follow_all_others():
    prompt = padded_prompt([[BOS, 5, 6], [BOS, 7]], pad_token_id=PAD)
    both = with_unconditional(prompt)
    assert torch.equal(both.token_ids, prompt.token_ids.repeat(2, 1))
    assert torch.equal(both.position_ids, prompt.position_ids.repeat(2, 1))
    masks = [prompt.attention_mask, unconditional(prompt).attention_mask]
    assert torch.equal(both.attention_mask, torch.cat(masks))


@torch.no_grad()
def test_rows_joined_from_several_caches_stand_for_their_prompts(
    model: JanusFlowForConditionalGeneration,
):
    """Guided and plain rows of different lengths, the joined rows joined with others again."""
    long, short = [[BOS, 40, 41, 42, 43, 44]], [[BOS, 50]]
    both = padded_prompt(long + short, pad_token_id=2)
    read = [model.encode_prompt(p) for p in (both, unconditional(both))]
    alone = [read[0].select([0]), read[0].select([1]), read[1].select([1]), read[1].select([0])]
    joined = join([join([alone[1], alone[2]]), alone[0], alone[3]])
    x_t = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.0, 0.9, 4)
    together = model.velocity(x_t, t, joined)
    order = [alone[1], alone[2], alone[0], alone[3]]
    each = [model.velocity(x_t[i : i + 1], t[i : i + 1], row) for i, row in enumerate(order)]
    torch.testing.assert_close(together, torch.cat(each), atol=1e-5, rtol=0)


@torch.no_grad()
def test_selecting_and_joining_leave_what_they_copy_as_it_was(
    model: JanusFlowForConditionalGeneration,
):
    cache = model.encode_prompt(padded_prompt([[BOS, 40, 41], [BOS, 50]], pad_token_id=2))
    before = [layer.keys.clone() for layer in cache.cache.layers]
    for copied in (cache.select([1, 1, 0]), join([cache, cache])):
        copied.cache.layers[0].keys.fill_(7.0)
    assert all(map(torch.equal, before, (layer.keys for layer in cache.cache.layers)))


@torch.no_grad()
def test_joining_leaves_out_columns_that_nobody_needs(model: JanusFlowForConditionalGeneration):
    cache = model.encode_prompt(padded_prompt([[BOS, 40, 41, 42], [BOS, 50]], pad_token_id=2))
    assert join([cache]).attention_mask.shape[1] == 4
    short = join([cache.select([1])])
    assert (short.attention_mask.shape[1], short.cache.get_seq_length()) == (2, 2)
    assert short.attention_mask.tolist() == [[1, 1]]


def test_a_cache_that_forgets_cannot_be_joined():
    sliding = PrefixCache(
        cache=DynamicCache(config=MistralConfig(num_hidden_layers=2, sliding_window=4)),
        attention_mask=torch.ones(1, 2, dtype=torch.long),
        next_position=torch.tensor([2]),
    )
    with pytest.raises(ConfigError, match=r"layer 0 .*sliding window"):
        join([sliding])
