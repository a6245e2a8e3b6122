"""A batch is a function of seed and step, and holds its kinds in the shares it was told."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import TinySources, make_collator, run_model

from janusflow.config.errors import ConfigError, DataError
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.batches.mixture import KINDS, Kind, mixed_batches, plan, rows_of_step
from janusflow.data.samples import Sample, TextSample
from janusflow.data.sources.base import BadRows, WeightedSource, is_above


def ratio(shares: Sequence[float], until: int | None = None) -> Ratio:
    understanding, generation, text = shares
    return Ratio(understanding=understanding, generation=generation, text=text, until=until)


share = st.one_of(st.just(0.0), st.floats(0.01, 100))


@given(st.tuples(share, share, share).filter(lambda s: sum(s) > 0), st.integers(1, 600))
def test_a_steps_kinds_add_up_and_are_within_two_of_their_share(
    shares: tuple[float, float, float], batch_size: int
):
    config = MixtureConfig(batch_size=batch_size, ratios=(ratio(shares),))
    for step in (0, 1, 17):
        split = Counter(kind for kind, _ in plan(config, step))
        assert sum(split.values()) == batch_size
        for kind, wanted in zip(KINDS, shares, strict=True):
            assert abs(split[kind] - batch_size * wanted / sum(shares)) < 2 + 1e-6
            assert wanted > 0 or split[kind] == 0


@pytest.mark.parametrize("shares", [(14.0, 80.0, 6.0), (21.0, 70.0, 9.0), (50.0, 50.0, 0.0)])
def test_the_papers_shares_hold_over_a_run(shares: tuple[float, float, float]):
    config = MixtureConfig(batch_size=32, ratios=(ratio(shares),))
    found = Counter(kind for step in range(500) for kind, _ in plan(config, step))
    for kind, wanted in zip(KINDS, shares, strict=True):
        assert abs(found[kind] - 160 * wanted) < 2


def test_samples_of_a_kind_are_numbered_through_the_run_also_where_shares_switch():
    config = MixtureConfig(
        batch_size=7, ratios=(ratio((3.0, 5.0, 2.0), until=4), ratio((1.0, 1.0, 5.0)))
    )
    numbers: dict[Kind, list[int]] = {kind: [] for kind in KINDS}
    for step in range(30):
        for kind, ordinal in plan(config, step):
            numbers[kind].append(ordinal)
    for found in numbers.values():
        assert found == list(range(len(found)))


def rows_of(batch: TrainBatch) -> list[Any]:
    """Everything in a batch, to compare."""
    parts: list[Any] = [len(batch), batch.rows.token_ids.tolist(), batch.labels.tolist()]
    parts += [batch.rows.segment_ids.tolist(), batch.rows.branches.tolist()]
    parts += [None if batch.pixel_values is None else batch.pixel_values.tolist()]
    if batch.drawings is not None:
        parts += [batch.drawings.seeds, batch.drawings.latents.tolist()]
    return parts


@pytest.fixture(scope="module")
def collate() -> Collator:
    return make_collator(run_model())


def test_a_batch_depends_on_seed_and_step_only(sources: TinySources, collate: Collator):
    config = MixtureConfig(batch_size=4, ratios=(ratio((1.0, 1.0, 1.0)),))

    def first(num: int, *, seed: int, step: int) -> list[list[Any]]:
        stream = mixed_batches(sources.by_kind, collate, config, seed=seed, step=step)
        return [rows_of(batch) for (batch,) in islice(stream, num)]

    run = first(4, seed=1, step=0)
    torch.manual_seed(99)
    np.random.seed(99)
    assert first(2, seed=1, step=2) == run[2:]
    assert first(1, seed=2, step=0) != run[:1]
    assert all(a != b for a, b in pairwise(run))


@dataclass(frozen=True)
class Recorded:
    """A batch that is nothing but its samples."""

    samples: tuple[Any, ...]
    batch_stats: dict[str, int]


class Recorder(Collator):
    """Hands the samples on as they are."""

    def __init__(self) -> None:
        """Needs no tokenizer."""

    def build(self, sample: Sample) -> Any:
        return sample

    def pack(self, built: Sequence[Any]) -> Any:
        return Recorded(tuple(built), {})


@dataclass(frozen=True)
class Numbers:
    """A source whose samples say which row they are; some rows are bad."""

    name: str
    length: int
    bad: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.length

    def sample(self, row: int, rng: np.random.Generator) -> TextSample:
        if row in self.bad:
            raise DataError(f"number {row} is broken.")
        return TextSample(text=f"{self.name} {row}")


def texts(
    config: MixtureConfig,
    sources: dict[Kind, list[WeightedSource]],
    num_steps: int,
    *,
    step: int = 0,
    bad: BadRows | None = None,
) -> list[list[str]]:
    """What some steps' samples say."""
    stream: Any = mixed_batches(sources, Recorder(), config, seed=0, step=step, bad=bad)
    return [[each.text for each in batch.samples] for (batch,) in islice(stream, num_steps)]


def named_kinds(
    config: MixtureConfig, *, step: int = 0, kinds: Sequence[Kind] = KINDS
) -> Iterator[list[str]]:
    """The stream of batches as lists of their samples' kinds."""
    sources = {kind: [WeightedSource(Numbers(kind, 5), 1.0)] for kind in kinds}
    stream: Any = mixed_batches(sources, Recorder(), config, seed=0, step=step)
    return ([each.text.split()[0] for each in batch.samples] for (batch,) in stream)


ONLY_TEXT = MixtureConfig(batch_size=6, ratios=(ratio((0.0, 0.0, 1.0)),))


def test_every_source_goes_through_all_its_rows_before_it_repeats_one_also_after_a_resume():
    sources: dict[Kind, list[WeightedSource]] = {
        "text": [WeightedSource(Numbers("a", 8), 2.0), WeightedSource(Numbers("b", 5), 1.0)]
    }
    steps = texts(ONLY_TEXT, sources, 12)
    assert texts(ONLY_TEXT, sources, 5, step=7) == steps[7:]
    for name, length, num_drawn in (("a", 8, 48), ("b", 5, 24)):
        drawn = [text for batch in steps for text in batch if text.startswith(name)]
        assert len(drawn) == num_drawn
        for start in range(0, num_drawn - length + 1, length):
            assert len(set(drawn[start : start + length])) == length
        assert drawn[:length] != drawn[length : 2 * length]


def test_sources_of_one_length_have_orders_of_their_own():
    pair: dict[Kind, list[WeightedSource]] = {
        "text": [WeightedSource(Numbers(name, 20), 1.0) for name in ("a", "b")]
    }
    drawn = [text.split() for batch in texts(ONLY_TEXT, pair, 6) for text in batch]
    first, second = ([row for name, row in drawn if name == wanted] for wanted in ("a", "b"))
    assert len(first) == len(second) == 18
    assert first != second


def test_a_bad_row_is_told_of_and_the_next_one_taken():
    bad = BadRows(max_share=0.2)
    source = Numbers("a", 10, bad=(3, 4))
    found = texts(ONLY_TEXT, {"text": [WeightedSource(source, 1.0)]}, 5, bad=bad)
    assert bad.found == {("a", 3): "number 3 is broken.", ("a", 4): "number 4 is broken."}
    drawn = Counter(text for batch in found for text in batch)
    assert sum(drawn.values()) == 30
    assert drawn["a 5"] == 9  # its own three times, and for 3 and 4
    assert set(drawn) == {f"a {row}" for row in (0, 1, 2, 5, 6, 7, 8, 9)}


@pytest.mark.timeout(20)
def test_a_source_without_a_good_row_ends_even_if_all_may_be_bad():
    source = Numbers("none.jsonl", 3, bad=(0, 1, 2))
    with pytest.raises(DataError, match=r"none of 3 rows in turn of none\.jsonl makes a sample"):
        texts(ONLY_TEXT, {"text": [WeightedSource(source, 1.0)]}, 1, bad=BadRows(max_share=1.0))


def test_a_bad_row_is_written_down_once_for_all_processes_and_starts(tmp_path: Path):
    log = tmp_path / "bad.jsonl"
    source = Numbers("a", 10, bad=(3, 4))
    for first in (0, 1, 0, 1):
        stream: Any = mixed_batches(
            {"text": [WeightedSource(source, 1.0)]},
            Recorder(),
            ONLY_TEXT,
            seed=0,
            step=0,
            own_parts=lambda items, first=first: [items[first::2]],
            bad=BadRows(max_share=0.02, log=log),
        )
        list(islice(stream, 20))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["row"] for line in lines) == [3, 4]
    assert lines[0]["why"] == f"number {lines[0]['row']} is broken."


def test_a_bad_row_that_another_process_wrote_down_meanwhile_is_not_written_again(tmp_path: Path):
    log = tmp_path / "bad.jsonl"
    source = Numbers("a", 10)
    pair = [BadRows(max_share=1.0, log=log) for _ in range(2)]
    for row, first in ((3, 0), (3, 1), (4, 1), (4, 0), (3, 0)):
        pair[first].add(source, row, DataError(f"number {row} is broken."))
    log.write_text(log.read_text() + '{"source": "a", "ro')  # being written
    third = BadRows(max_share=1.0, log=log)
    assert list(third.found) == [("a", 3), ("a", 4)]
    assert log.read_text().count("\n") == 2
    assert [bad.num_bad for bad in pair] == [3, 2]


def test_the_rows_of_a_step_are_named_without_reading_them_past_bad_ones_too(tmp_path: Path):
    sources: dict[Kind, list[WeightedSource]] = {
        "text": [
            WeightedSource(Numbers("a", 8, bad=(2, 3)), 2.0),
            WeightedSource(Numbers("b", 5), 1.0),
        ]
    }
    bad = BadRows(max_share=1.0, log=tmp_path / "bad.jsonl")
    drawn = texts(ONLY_TEXT, sources, 12, bad=bad)
    fresh = BadRows(max_share=1.0, log=tmp_path / "bad.jsonl")
    for step, found in enumerate(drawn):
        named = rows_of_step(sources, ONLY_TEXT, seed=0, step=step, bad=fresh)
        assert [f"{source} {row}" for _, source, row in named] == found
        assert {kind for kind, _, _ in named} == {"text"}


def test_the_batches_of_all_processes_count_each_row_tried_once():
    """Also where a process has several batches, and where bad rows are stood in for by bad ones."""
    source = Numbers("a", 10, bad=(3, 4))
    counted = Counter()
    for first in (0, 1):
        stream: Any = mixed_batches(
            {"text": [WeightedSource(source, 1.0)]},
            Recorder(),
            ONLY_TEXT,
            seed=0,
            step=0,
            own_parts=lambda items, first=first: [items[first::4], items[first + 2 :: 4]],
        )
        for step in islice(stream, 5):
            for batch in step:
                counted.update(batch.batch_stats | {"samples": len(batch.samples)})
    # Three passes: row 3 leads to row 4, and this to row 5.
    assert counted == {"samples": 30, "rows_tried": 39, "rows_bad": 9}


def stops_after(share: float, rows_a_step: int, num_steps: int, *, seed: int) -> int | None:
    """Rows after which a run whose rows are bad with this chance stops at an allowed 1%."""
    bad = np.random.default_rng(seed).binomial(rows_a_step, share, num_steps).cumsum().tolist()
    for step, num_bad in enumerate(bad, start=1):
        if is_above(0.01, num_tried=step * rows_a_step, num_bad=num_bad):
            return step * rows_a_step
    return None


def test_chance_does_not_stop_a_run_and_twice_the_allowed_share_soon_does():
    """64 processes of 8 samples a step, 200 runs each; at the very limit one in 1,000 may stop."""
    seeds = range(200)
    assert not any(stops_after(0.005, 512, 300, seed=seed) for seed in seeds)
    assert sum(stops_after(0.01, 512, 100, seed=seed) is not None for seed in seeds) <= 3
    stopped = [stops_after(0.02, 64, 200, seed=seed) for seed in seeds]
    assert all(rows is not None for rows in stopped)
    assert np.quantile([rows or 0 for rows in stopped], 0.95) < 6000


def test_a_start_of_bad_rows_is_judged_from_its_hundredth_row_on():
    assert not is_above(0.01, num_tried=99, num_bad=99)
    assert is_above(0.01, num_tried=100, num_bad=10)
    assert not is_above(0.01, num_tried=200, num_bad=3)
    assert is_above(0.0, num_tried=1, num_bad=1)
    assert not is_above(1.0, num_tried=1000, num_bad=1000)


def test_too_many_bad_rows_stop_the_run_and_name_the_last_that_any_process_found(tmp_path: Path):
    first, second = (BadRows(max_share=0.01, log=tmp_path / "bad.jsonl") for _ in range(2))
    first.add(Numbers("shapes.jsonl", 10), 3, DataError("number 3 is broken."))
    second.require_few(num_tried=1000, num_bad=12)
    told = (
        r"50 of 1,000 rows tried are bad, more than mixture\.max_bad_share=0\.01 allows, the last "
    )
    with pytest.raises(DataError, match=f"{told}one row 3 of shapes.jsonl: number 3") as error:
        second.require_few(num_tried=1000, num_bad=50)
    assert "\n" not in str(error.value)


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


def test_parts_share_a_step_without_overlap(sources: TinySources):
    """Sample i is the same whichever process makes it, in whichever batch."""
    config = MixtureConfig(batch_size=5, ratios=(ratio((1.0, 2.0, 1.0)),))

    def samples(*own: int) -> list[list[str]]:
        stream: Any = mixed_batches(
            sources.by_kind,
            Recorder(),
            config,
            seed=3,
            step=7,
            own_parts=lambda items: [items[first :: len(own)] for first in own],
        )
        return [[str(sample) for sample in batch.samples] for batch in next(stream)]

    (whole,) = samples(0)
    assert samples(0, 1) == [whole[0::2], whole[1::2]]
    assert len(set(whole)) == 5
