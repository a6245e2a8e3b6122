"""Packing: nothing lost, nothing too long, little padding, and no sample knows of another."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import TinySources, draw, make_collator, run_model
from torch import Tensor

from janusflow.config.training import ObjectiveConfig
from janusflow.data.batches.packing import pack
from janusflow.data.samples import Sample
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.rows import PAD_SEGMENT
from janusflow.training.engine.loop import accumulate_gradients
from janusflow.training.objectives.janusflow import JanusFlowObjective

KINDS = ("text", "understanding", "generation", "generation", "text", "understanding", "generation")


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(100, 400))
def test_every_sample_is_in_one_row_and_no_row_is_too_long(lengths: list[int], row_tokens: int):
    rows = pack(lengths, row_tokens=row_tokens)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(i < j for row in rows for i, j in pairwise(row))
    assert all(0 < sum(lengths[i] for i in row) <= row_tokens for row in rows)


def test_padding_is_under_three_percent_of_a_realistic_mixture():
    """Stage 3's shares at full size: 576 image tokens, and words as long as captions and chats.

    64 samples, a process's share of a batch of 512 on eight. Rows are padded to the longest.
    """
    rng = np.random.default_rng(0)
    for _ in range(50):
        chats = 600 + rng.gamma(2.0, 60.0, size=13)
        prompts = 590 + rng.gamma(2.0, 30.0, size=45)
        texts = rng.gamma(2.0, 250.0, size=6).clip(20, 4000)
        lengths = np.concatenate([chats, prompts, texts]).astype(int).tolist()
        rows = [sum(lengths[i] for i in row) for row in pack(lengths, row_tokens=4096)]
        assert 1 - sum(lengths) / (max(rows) * len(rows)) < 0.03


def gradients(
    model: JanusFlowForConditionalGeneration, groups: list[list[Sample]], *, row_tokens: int
) -> dict[str, Tensor]:
    """Losses and gradients of one step over these batches."""
    collate = make_collator(model, row_tokens=row_tokens)
    model.zero_grad()
    objective = JanusFlowObjective(model, ObjectiveConfig(drop_prompt=0.5))
    losses, _ = accumulate_gradients(objective, [collate(group) for group in groups])
    return losses | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("row_tokens", [350, 500, 2000])
def test_packed_samples_learn_as_each_does_alone(sources: TinySources, row_tokens: int):
    model = run_model()
    samples = draw(sources, *KINDS, seed=2)
    collate = make_collator(model, row_tokens=2000)
    assert max(len(collate.build(sample).row) for sample in samples) < 350
    alone = gradients(model, [[sample] for sample in samples], row_tokens=2000)
    packed = gradients(model, [samples], row_tokens=row_tokens)
    assert (
        set(alone)
        == set(packed)
        > {"ce_answer", "ce_text", "flow_mse", "repa", "llm.lm_head.weight"}
    )
    for name in alone:
        torch.testing.assert_close(packed[name], alone[name], atol=1e-5, rtol=0, msg=name)


def test_rows_are_as_many_as_needed(sources: TinySources):
    samples = draw(sources, *KINDS)
    collate = make_collator(run_model(), row_tokens=10_000)
    lengths = [len(collate.build(sample).row) for sample in samples]
    assert collate(samples).rows.token_ids.shape == (1, sum(lengths))
    several = make_collator(run_model(), row_tokens=max(lengths))(samples).rows
    assert int((several.segment_ids != PAD_SEGMENT).sum()) == sum(lengths)
    assert several.segment_ids.shape[0] > 1
