"""Packing: nothing lost, nothing too long, little padding, and no sample knows of another."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import TinySources, draw, make_collator, run_model
from torch import Tensor

from janusflow.config.training import MixtureConfig, ObjectiveConfig, Ratio
from janusflow.data.batches.mixture import plan
from janusflow.data.batches.packing import balanced, pack
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


Parts = list[list[list[int]]]


def parts_of(num_samples: int, num_processes: int, num_parts: int) -> Parts:
    """Every n-th sample, by process and micro-batch."""
    stride = num_processes * num_parts
    return [
        [list(range(process * num_parts + part, num_samples, stride)) for part in range(num_parts)]
        for process in range(num_processes)
    ]


@given(
    st.lists(st.integers(1, 100), min_size=12, max_size=60), st.integers(1, 4), st.integers(1, 3)
)
def test_balancing_keeps_every_sample_and_how_many_a_process_has(
    lengths: list[int], num_processes: int, num_parts: int
):
    before = parts_of(len(lengths), num_processes, num_parts)
    after = balanced(before, lengths)
    assert sorted(i for process in after for part in process for i in part) == list(
        range(len(lengths))
    )
    for old, new in zip(before, after, strict=True):
        assert sum(map(len, old)) == sum(map(len, new))
        assert len(new) == num_parts
        assert all(new)
    assert most_tokens(after, lengths) <= most_tokens(before, lengths)


def most_tokens(parts: Parts, lengths: list[int]) -> int:
    """Of a process."""
    return max(sum(lengths[i] for part in process for i in part) for process in parts)


def realistic_lengths(rng: np.random.Generator, step: int, num_samples: int) -> list[int]:
    """Tokens of a step of stage 2: recaptions, captions and chats, C4."""
    ratio = Ratio(understanding=14.0, generation=80.0, text=6.0)
    mixture = MixtureConfig(batch_size=num_samples, ratios=(ratio,))
    words = {
        "generation": lambda: 588 + np.clip(rng.lognormal(4.2, 0.7), 5, 400),
        "understanding": lambda: 598 + np.clip(rng.lognormal(4.6, 0.9), 2, 2500),
        "text": lambda: np.clip(rng.lognormal(5.7, 1.1), 20, 4096),
    }
    return [int(words[kind]()) for kind, _ in plan(mixture, step)]


def useful_share(parts: Parts, lengths: list[int]) -> float:
    """Of positions: micro-batches that run at the same time end with the largest of them."""
    positions = np.zeros((len(parts), len(parts[0])))
    for process, batches in enumerate(parts):
        for number, samples in enumerate(batches):
            own = [lengths[i] for i in samples]
            rows = pack(own, row_tokens=4096)
            positions[process, number] = len(rows) * max(sum(own[i] for i in row) for row in rows)
    return sum(lengths) / (positions.max(axis=0).sum() * len(parts))


@pytest.mark.parametrize(
    ("num_samples", "num_processes", "num_parts", "before", "after", "moved"),
    [(512, 64, 1, 0.76, 0.90, 0.2), (512, 32, 16, 0.60, 0.71, 0.2), (3072, 64, 1, 0.88, 0.92, 0.1)],
)
def test_balanced_processes_wait_less_and_swap_few_samples(
    num_samples: int,
    num_processes: int,
    num_parts: int,
    before: float,
    after: float,
    moved: float,
):
    """At 32 x 16 every micro-batch is one sample."""
    rng, shares, num_moved = np.random.default_rng(0), [], 0
    for step in range(10):
        lengths = realistic_lengths(rng, step, num_samples)
        old = parts_of(num_samples, num_processes, num_parts)
        new = balanced(old, lengths)
        shares.append([useful_share(parts, lengths) for parts in (old, new)])
        for had, has in zip(old, new, strict=True):
            num_moved += len({i for part in has for i in part} - {i for part in had for i in part})
    unbalanced, even = np.mean(shares, axis=0)
    assert unbalanced < before
    assert even > after
    assert num_moved < moved * 10 * num_samples


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
