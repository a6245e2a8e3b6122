"""A batch is a function of seed and step, and holds its kinds in the shares it was told."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import make_collator, run_model

from janusflow.config.errors import ConfigError
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.collate import Collator, TrainBatch
from janusflow.data.mixture import KINDS, Kind, counts, mixed, mixed_batches
from janusflow.data.samples import Sample, TextSample
from janusflow.mini.sources import SceneSources

PAPERS = [
    ((50.0, 50.0, 0.0), 32),
    ((30.0, 50.0, 20.0), 32),
    ((50.0, 50.0, 0.0), 512),
    ((1.0, 0.0, 0.0), 3),
]


def ratio(shares: Sequence[float], until: int | None = None) -> Ratio:
    understanding, generation, text = shares
    return Ratio(understanding=understanding, generation=generation, text=text, until=until)


def exact(shares: Sequence[float], batch_size: int) -> dict[Kind, float]:
    return {k: batch_size * s / sum(shares) for k, s in zip(KINDS, shares, strict=True)}


def mean_counts(shares: Sequence[float], batch_size: int, *, num: int) -> dict[Kind, float]:
    rng = np.random.default_rng(0)
    total: Counter[Kind] = Counter()
    for _ in range(num):
        total.update(counts(ratio(shares), batch_size, rng))
    return {kind: total[kind] / num for kind in KINDS}


share = st.one_of(st.just(0.0), st.floats(0.01, 100))


@given(st.tuples(share, share, share).filter(lambda s: sum(s) > 0), st.integers(1, 600))
def test_counts_add_up_and_are_each_within_one_of_their_share(
    shares: tuple[float, float, float], batch_size: int
):
    split = counts(ratio(shares), batch_size, np.random.default_rng(0))
    assert sum(split.values()) == batch_size
    for kind, wanted in exact(shares, batch_size).items():
        assert abs(split[kind] - wanted) < 1 + 1e-6
        assert wanted > 0 or split[kind] == 0


@pytest.mark.parametrize(("shares", "batch_size"), PAPERS)
def test_counts_are_right_on_average(shares: tuple[float, float, float], batch_size: int):
    """2000 draws of one leftover sample: standard error at most 0.5 / 44."""
    measured = mean_counts(shares, batch_size, num=2000)
    assert measured == pytest.approx(exact(shares, batch_size), abs=0.05)


@pytest.mark.parametrize("shares", [(14.0, 80.0, 6.0), (21.0, 70.0, 9.0)])
def test_two_leftovers_are_right_on_average_too(shares: tuple[float, float, float]):
    assert mean_counts(shares, 32, num=2000) == pytest.approx(exact(shares, 32), abs=0.05)


def rows_of(batch: TrainBatch) -> list[Any]:
    """Everything in a batch, to compare."""
    parts: list[Any] = [len(batch), batch.rows.token_ids.tolist(), batch.labels.tolist()]
    parts += [batch.rows.samples.tolist(), batch.rows.branches.tolist()]
    parts += [None if batch.pixel_values is None else batch.pixel_values.tolist()]
    if batch.drawings is not None:
        parts += [batch.drawings.seeds, batch.drawings.latents.tolist()]
    return parts


@pytest.fixture(scope="module")
def collate() -> Collator:
    return make_collator(run_model())


def test_a_batch_depends_on_seed_and_step_only(sources: SceneSources, collate: Collator):
    config = MixtureConfig(batch_size=4, ratios=(ratio((1.0, 1.0, 1.0)),))

    def first(num: int, *, seed: int, step: int) -> list[list[Any]]:
        stream = mixed_batches(sources.by_kind(), collate, config, seed=seed, step=step)
        return [rows_of(batch) for (batch,) in islice(stream, num)]

    run = first(4, seed=1, step=0)
    torch.manual_seed(99)
    np.random.seed(99)
    assert first(2, seed=1, step=2) == run[2:]
    assert first(1, seed=2, step=0) != run[:1]
    assert all(a != b for a, b in pairwise(run))


class Recorder(Collator):
    """Hands the samples on as they are."""

    def __init__(self) -> None:
        """Needs no tokenizer."""

    def __call__(self, samples: Sequence[Sample]) -> Any:
        return list(samples)


def named_kinds(
    config: MixtureConfig, *, step: int = 0, kinds: Sequence[Kind] = KINDS
) -> Iterator[list[str]]:
    """The stream of batches as lists of their samples' kinds."""
    sources = {kind: lambda _, kind=kind: TextSample(text=kind) for kind in kinds}
    stream: Any = mixed_batches(sources, Recorder(), config, seed=0, step=step)
    return ([sample.text for sample in batch] for (batch,) in stream)


def test_shares_switch_at_until_also_after_a_resume():
    config = MixtureConfig(
        batch_size=4, ratios=(ratio((1.0, 0.0, 0.0), until=3), ratio((0.0, 1.0, 1.0)))
    )
    early, late = ["understanding"] * 4, ["generation"] * 2 + ["text"] * 2
    assert list(islice(named_kinds(config), 5)) == [early] * 3 + [late] * 2
    assert list(islice(named_kinds(config, step=2), 2)) == [early, late]


def test_a_kind_without_a_source_is_named():
    config = MixtureConfig(batch_size=2, ratios=(ratio((1.0, 1.0, 0.0)),))
    with pytest.raises(ConfigError, match="wants generation samples"):
        next(named_kinds(config, kinds=("understanding", "text")))


def test_a_kind_with_share_zero_needs_no_source():
    config = MixtureConfig(batch_size=2, ratios=(ratio((0.0, 0.0, 1.0)),))
    assert next(named_kinds(config, kinds=("text",))) == ["text", "text"]


def test_mixed_draws_from_both_sources_by_share():
    draw = mixed(
        lambda _: TextSample(text="first"), lambda _: TextSample(text="second"), share_of_second=0.2
    )
    rng = np.random.default_rng(0)
    found = Counter(str(draw(rng)) for _ in range(3000))
    assert found[str(TextSample(text="second"))] / 3000 == pytest.approx(0.2, abs=0.03)
    assert len(found) == 2


def test_parts_share_a_step_without_overlap(sources: SceneSources):
    """Sample i is the same whichever process makes it, in whichever batch."""
    config = MixtureConfig(batch_size=5, ratios=(ratio((1.0, 2.0, 1.0)),))

    def samples(*own: int) -> list[list[str]]:
        stream: Any = mixed_batches(
            sources.by_kind(),
            Recorder(),
            config,
            seed=3,
            step=7,
            own_parts=lambda items: [items[first :: len(own)] for first in own],
        )
        return [[str(sample) for sample in batch] for batch in next(stream)]

    (whole,) = samples(0)
    assert samples(0, 1) == [whole[0::2], whole[1::2]]
    assert len(set(whole)) == 5
