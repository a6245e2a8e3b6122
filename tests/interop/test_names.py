"""Claims about the name table: complete, one to one, and strict."""

import json
from pathlib import Path

import pytest
import torch
from release_folder import TOKEN_IDS, release_settings

from janusflow.config.errors import CheckpointError
from janusflow.interop.load import on_meta, shapes_of
from janusflow.interop.names import (
    TABLE,
    check_shapes,
    official_shapes,
    row_to_official,
    row_to_ours,
    rows_of,
)
from janusflow.interop.release_config import config_from_official
from janusflow.interop.tokens import TokenIds
from janusflow.model.configuration import JanusFlowConfig


def shapes_in_the_release(settings: dict, token_ids: TokenIds = TOKEN_IDS):
    model = on_meta(config_from_official(settings, token_ids=token_ids))
    return official_shapes(rows_of(model.config), shapes_of(model))


def test_names_and_shapes_of_the_whole_network_equal_the_release(reference: Path):
    settings = json.loads((reference / "official_config.json").read_text())
    recorded = json.loads((reference / "official_state_dict.json").read_text())
    expected = {name: tuple(shape) for name, (shape, _) in recorded.items()}
    assert shapes_in_the_release(settings, TokenIds()) == expected


def test_no_name_is_used_twice():
    rows = rows_of(config_from_official(release_settings(), token_ids=TOKEN_IDS))
    for side in ("official", "ours"):
        names = [name for row in rows for name in getattr(row, side)]
        assert len(names) == len(set(names))


def test_there_and_back_is_the_same_bits_for_every_row():
    """Random tensors of the right shapes through each row of the table, both ways round."""
    model = on_meta(config_from_official(release_settings(), token_ids=TOKEN_IDS))
    ours = {name: torch.randn(shape) for name, shape in shapes_of(model).items()}
    for row in rows_of(model.config):
        official = dict(row_to_official(row, ours))
        again = dict(row_to_ours(row, official))
        assert again.keys() == set(row.ours)
        assert all(torch.equal(again[name], ours[name]) for name in row.ours), row


def test_fused_projections_are_query_key_value_from_the_top():
    row = next(row for row in TABLE if len(row.ours) == 3)
    q, k, v = (torch.full((2, 4), float(i)) for i in range(3))
    fused = dict(row_to_official(row, dict(zip(row.ours, (q, k, v), strict=True))))
    assert torch.equal(fused[row.official[0]], torch.cat([q, k, v]))


def test_pooling_head_shares_rows_one_to_two():
    row = next(row for row in TABLE if len(row.official) == 2)
    stacked = torch.arange(6.0)[:, None]
    split = dict(row_to_official(row, {row.ours[0]: stacked}))
    assert [len(split[name]) for name in row.official] == [2, 4]


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


def test_a_model_the_table_does_not_cover_is_refused():
    """Qwen3 has query and key norms, for which the release has no names."""
    llm = {
        "model_type": "qwen3",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 300,
    }
    model = on_meta(JanusFlowConfig(llm_config=llm))
    with pytest.raises(CheckpointError, match=r"llm.model.layers.0.self_attn.q_norm.weight"):
        official_shapes(rows_of(model.config), shapes_of(model))


def test_the_repa_head_stays_out_of_the_release():
    config = config_from_official(release_settings(), token_ids=TOKEN_IDS)
    config.repa = {"block": 1, "hidden_size": 16}
    model = on_meta(config)
    assert any(name.startswith("repa_head.") for name in shapes_of(model))
    with_head = official_shapes(rows_of(model.config), shapes_of(model))
    assert with_head == shapes_in_the_release(release_settings())
