"""A cache with room holds what transformers' own holds, and moves it seldom."""

import copy
from collections.abc import Callable

import pytest
import torch
from tiny_model import tiny_model
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from janusflow.model.cache import LEAST_ROOM, GrowingCache, GrowingLayer

ROWS, HEADS, WIDTH = 3, 2, 4


def states(tokens: int, *, rows: int = ROWS, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * tokens + seed)
    keys, values = torch.randn(2, rows, HEADS, tokens, WIDTH, generator=generator)
    return keys, values


def filled(layer: DynamicLayer, *tokens: int) -> DynamicLayer:
    for seed, count in enumerate(tokens):
        layer.update(*states(count, seed=seed))
    return layer


def same(left: DynamicLayer, right: DynamicLayer) -> bool:
    return torch.equal(left.keys, right.keys) and torch.equal(left.values, right.values)


@pytest.mark.parametrize("tokens", [(5,), (5, 1, 1, 1), (1, 200, 1, 3), (70, LEAST_ROOM, 1)])
def test_it_shows_all_that_came_in_order(tokens: tuple[int, ...]):
    grown, wanted = filled(GrowingLayer(), *tokens), filled(DynamicLayer(), *tokens)
    assert same(grown, wanted)
    assert grown.get_seq_length() == sum(tokens)


def test_a_token_more_moves_nothing_until_the_room_is_used_up():
    layer = filled(GrowingLayer(), 1000)
    places = set()
    for seed in range(1000):
        layer.update(*states(1, seed=seed))
        places.add(layer.keys.data_ptr())
    # An eighth more each time: 1000, 1125, 1265, 1423, 1600, 1800, 2025.
    assert len(places) <= 7


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.batch_select_indices(torch.tensor([2, 0])),
        lambda layer: layer.crop(-2),
        lambda layer: layer.reorder_cache(torch.tensor([1, 0])),
        lambda layer: layer.batch_repeat_interleave(2),
        lambda layer: layer.reset(),
    ],
    ids=["select", "crop", "reorder", "repeat", "reset"],
)
def test_it_goes_on_after_it_was_changed_otherwise(change: Callable[[DynamicLayer], None]):
    grown, wanted = filled(GrowingLayer(), 5, 1), filled(DynamicLayer(), 5, 1)
    for layer in (grown, wanted):
        change(layer)
        rows = ROWS if layer.keys is None else len(layer.keys)
        layer.update(*states(1, rows=rows, seed=7))
    assert same(grown, wanted)


def test_copies_grow_apart():
    layer = filled(GrowingLayer(), 5, 1)
    copied = copy.copy(layer)
    layer.update(*states(1, seed=1))
    copied.update(*states(1, seed=2))
    for each, seed in ((layer, 1), (copied, 2)):
        assert torch.equal(each.keys[..., -1:, :], states(1, seed=seed)[0])


def test_blocks_that_forget_keep_their_own_layers():
    model = tiny_model()
    config = copy.deepcopy(model.config.llm_config)
    kinds = {type(layer) for layer in GrowingCache(config).layers}
    assert kinds == {GrowingLayer}
    config.sliding_window = 8
    config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    ours, theirs = GrowingCache(config), DynamicCache(config=config)
    assert [type(layer) for layer in ours.layers] == [type(layer) for layer in theirs.layers]
