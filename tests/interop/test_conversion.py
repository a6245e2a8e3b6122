"""Claims about the release's names and ours: complete, one to one, and strict."""

import json
from pathlib import Path

import pytest
import torch
from release_folder import TOKEN_IDS, release_settings

from janusflow.config.errors import CheckpointError
from janusflow.interop.conversion import (
    check_shapes,
    official_shapes,
    shapes_of,
    to_official,
    to_ours,
)
from janusflow.interop.load import on_meta
from janusflow.interop.release_config import config_from_official
from janusflow.interop.tokens import TokenIds

TOWER = "vision_und_enc_model.vision_tower."


def shapes_in_the_release(settings: dict, token_ids: TokenIds = TOKEN_IDS):
    return official_shapes(shapes_of(on_meta(config_from_official(settings, token_ids=token_ids))))


def test_names_and_shapes_of_the_whole_network_equal_the_release(reference: Path):
    settings = json.loads((reference / "official_config.json").read_text())
    recorded = json.loads((reference / "official_state_dict.json").read_text())
    expected = {name: tuple(shape) for name, (shape, _) in recorded.items()}
    assert shapes_in_the_release(settings, {}) == expected


@pytest.fixture
def ours() -> dict[str, torch.Tensor]:
    """Random tensors of a small network's shapes."""
    model = on_meta(config_from_official(release_settings(), token_ids=TOKEN_IDS))
    return {name: torch.randn(shape) for name, shape in shapes_of(model).items()}


def test_there_and_back_is_the_same_bits_under_the_same_names(ours: dict[str, torch.Tensor]):
    official = to_official(ours)
    assert not official.keys() & ours.keys()
    again = to_ours(official)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)


def test_names_that_are_ours_already_stay(ours: dict[str, torch.Tensor]):
    assert to_ours(ours) == ours


def test_fused_projections_are_query_key_value_from_the_top(ours: dict[str, torch.Tensor]):
    block = "understanding_encoder.encoder.layers.0.self_attn."
    fused = torch.cat([ours[f"{block}{x}_proj.weight"] for x in "qkv"])
    assert torch.equal(to_official(ours)[TOWER + "blocks.0.attn.qkv.weight"], fused)


def test_the_pooling_head_shares_rows_one_to_two(ours: dict[str, torch.Tensor]):
    fused, official = ours["understanding_encoder.head.attention.in_proj_bias"], to_official(ours)
    q, kv = (official[f"{TOWER}attn_pool.{name}.bias"] for name in ("q", "kv"))
    assert len(kv) == 2 * len(q)
    assert torch.equal(torch.cat([q, kv]), fused)


def test_every_difference_is_listed_in_one_error():
    expected = {"a": (2, 3), "b": (4,), "c": (5,)}
    found = {"a": (3, 2), "c": (5,), "extra.one": (1,), "extra.two": (1,)}
    with pytest.raises(CheckpointError) as error:
        check_shapes(found, expected, where="folder")
    message = str(error.value)
    assert "1 missing (b)" in message
    assert "2 unused (extra.one, extra.two)" in message
    assert "1 mis-shaped (a [3, 2] instead of [2, 3])" in message
    assert "\n" not in message


def test_the_repa_head_stays_out_of_the_release():
    config = config_from_official(release_settings(), token_ids=TOKEN_IDS)
    config.repa = {"block": 1, "hidden_size": 16}
    model = on_meta(config)
    assert any(name.startswith("repa_head.") for name in shapes_of(model))
    with_head = official_shapes(shapes_of(model))
    assert with_head == shapes_in_the_release(release_settings())
