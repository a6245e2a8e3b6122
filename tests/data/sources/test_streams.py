"""Streams: the n-th sample follows from seed and n, whoever reads it, whenever a run began."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import PREPARE
from data_shards import LENGTHS, NUM_ROWS, WRITERS, write_shards

from janusflow.config.data import SourceConfig
from janusflow.config.errors import DataError, StreamError
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.batches.collate import Collator
from janusflow.data.batches.mixture import mixed_batches, rows_of_step
from janusflow.data.prepare import Preparation
from janusflow.data.samples import TextSample
from janusflow.data.sources.base import BadRows, WeightedSource
from janusflow.data.sources.formats import StreamedSource, TableSource, open_source, text_sample
from janusflow.data.sources.streams import Shard, ShardLengths, StreamedTable


@dataclass(frozen=True, kw_only=True)
class CountingPreparation(Preparation):
    """Notes every image that is decoded."""

    opened: list[Any] = field(default_factory=list)

    def for_generation(self, image: Any, rng: np.random.Generator) -> Any:
        self.opened.append(image)
        return super().for_generation(image, rng)


def streamed(
    path: str, *, prepare: Preparation = PREPARE, images: Path | None = None
) -> StreamedSource:
    options = {"streaming": True, "shuffle_buffer": 5}
    config = SourceConfig(format="captions", path=path, images=images, options=options)
    ((source, _),) = open_source("generation", config, prepare)
    assert isinstance(source, StreamedSource)
    return source


def prompts(source: StreamedSource, rows: range, *, seed: int | None = 0) -> list[str]:
    source = source if seed is None else source.in_order(seed)
    return [source.sample(row, np.random.default_rng(row)).prompt for row in rows]  # pyright: ignore


def in_words(sample: Any) -> str:
    if isinstance(sample, TextSample):
        return sample.text
    return f"{sample.prompt} {sample.seed} {sample.pixel_values.sum():.4f}"


@dataclass(frozen=True)
class Words:
    """A batch of samples in words."""

    texts: list[str]
    batch_stats: dict[str, int]


class Recorder(Collator):
    """Puts samples into words."""

    def __init__(self) -> None:
        """Needs no tokenizer."""

    def build(self, sample: Any) -> Any:
        return sample

    def pack(self, built: Any) -> Any:
        return Words([in_words(sample) for sample in built], {})


DRAWING = MixtureConfig(batch_size=6, ratios=(Ratio(understanding=0.0, generation=1.0, text=0.0),))


def steps(
    source: StreamedSource,
    *,
    step: int = 0,
    rank: int = 0,
    num_processes: int = 1,
    num_parts: int = 1,
    bad: BadRows | None = None,
) -> Iterator[list[list[str]]]:
    """The batches of a process, taken as processes.own_parts has it."""
    batches: Any = mixed_batches(
        {"generation": [WeightedSource(source, 1.0)]},
        Recorder(),
        DRAWING,
        seed=3,
        step=step,
        own_parts=lambda items: [
            items[rank * num_parts + part :: num_processes * num_parts] for part in range(num_parts)
        ],
        bad=bad,
    )
    return ([batch.texts for batch in step] for step in batches)


@pytest.fixture(scope="module", params=WRITERS)
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("shards"), request.param)


def test_an_address_is_read_as_its_files_are(shards: str):
    source = streamed(f"file://{shards}", images=Path(shards).parent)
    assert prompts(source, range(NUM_ROWS)) == prompts(streamed(shards), range(NUM_ROWS))
    assert source.table.located(0).shard == f"file://{shards}".replace("*", "0")


def test_without_a_seed_rows_come_in_the_order_of_the_files_again_and_again(shards: str):
    expected = [f"number {number}" for number in range(NUM_ROWS)]
    assert prompts(streamed(shards), range(2 * NUM_ROWS), seed=None) == expected * 2


def test_every_pass_has_all_rows_each_in_another_order(shards: str):
    found = prompts(streamed(shards), range(3 * NUM_ROWS))
    passes = [found[start : start + NUM_ROWS] for start in range(0, len(found), NUM_ROWS)]
    for each in passes:
        assert sorted(each) == sorted(f"number {number}" for number in range(NUM_ROWS))
    in_order = [f"number {number}" for number in range(NUM_ROWS)]
    assert len({tuple(each) for each in [*passes, in_order]}) == 4
    assert found != prompts(streamed(shards), range(3 * NUM_ROWS), seed=1)


@pytest.mark.parametrize("start", [1, 5, 13, NUM_ROWS - 1, NUM_ROWS, 2 * NUM_ROWS + 3, 77])
def test_a_row_does_not_depend_on_where_reading_began(tmp_path: Path, start: int):
    path = write_shards(tmp_path, "parquet")
    whole = prompts(streamed(path), range(90))
    source = streamed(path)
    assert prompts(source, range(start, 90)) == whole[start:]
    assert prompts(source, range(3, 30, 7)) == whole[3:30:7]


def test_processes_and_batches_share_the_samples_of_one(shards: str):
    alone = [batch for (batch,) in islice(steps(streamed(shards)), 9)]
    split = [
        islice(steps(streamed(shards), rank=rank, num_processes=2, num_parts=3), 9)
        for rank in range(2)
    ]
    for whole, parts in zip(alone, zip(*split, strict=True), strict=True):
        batches = [batch for own in parts for batch in own]
        assert [batches[i % 6][i // 6] for i in range(6)] == whole
    assert [batch for (batch,) in islice(steps(streamed(shards), step=4), 5)] == alone[4:]


def test_a_process_decodes_the_images_of_its_own_rows_only(shards: str):
    counting = CountingPreparation(**vars(PREPARE))
    own = steps(streamed(shards, prepare=counting), step=7, rank=1, num_processes=3)
    list(islice(own, 4))
    assert len(counting.opened) == 4 * DRAWING.batch_size // 3


class Counted:
    """A shard that tells how often it was opened."""

    def __init__(self, shard: int) -> None:
        self.rows: list[dict[str, str]] = [
            {"text": f"{shard} {row}"} for row in range(LENGTHS[shard])
        ]
        self.num_opened = 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        self.num_opened += 1
        return iter(self.rows)


def counted(log: Path | None = None, **changes: Any) -> tuple[StreamedTable, list[Counted]]:
    shards = [Counted(shard) for shard in range(len(LENGTHS))]
    lengths = ShardLengths(source="s", num_shards=len(shards), log=log)
    named = [Shard(f"file {number}", each.__iter__) for number, each in enumerate(shards)]
    settings: dict[str, Any] = {"shuffle_buffer": 4, "seed": 5} | changes
    return StreamedTable(name="s", shards=named, lengths=lengths, **settings), shards


def test_what_is_read_in_order_is_read_once(tmp_path: Path):
    table, shards = counted()
    for row in range(3 * NUM_ROWS):
        table[row]
    assert [shard.num_opened for shard in shards] == [3] * 3


def test_the_batches_of_a_step_do_not_send_a_stream_back():
    table, shards = counted()
    source = StreamedSource(
        TableSource(
            name="s",
            table=table,
            prepare=PREPARE,
            read=lambda row: row["text"],
            make=text_sample,
        )
    )
    batches = mixed_batches(
        {"text": [WeightedSource(source, 1.0)]},
        Recorder(),
        MixtureConfig(batch_size=6, ratios=(Ratio(understanding=0.0, generation=0.0, text=1.0),)),
        seed=5,
        step=0,
        own_parts=lambda items: [items[part::3] for part in range(3)],
    )
    found: Any = list(islice(batches, 10))
    assert len({text for step in found for batch in step for text in batch.texts}) == NUM_ROWS
    assert [shard.num_opened for shard in shards] == [3] * 3


def test_a_run_that_resumes_opens_the_shard_it_is_in_and_none_before(tmp_path: Path):
    log = tmp_path / "run" / "shards.jsonl"
    first, _ = counted(log)
    rows = [first[row] for row in range(3 * NUM_ROWS)]
    for start in range(2 * NUM_ROWS):
        again, shards = counted(log)
        assert again[start] == rows[start]
        crossed = {each.shard for each in again._block}
        assert sum(shard.num_opened for shard in shards) == len(crossed)
    assert len(log.read_text().splitlines()) == len(LENGTHS)


def test_another_buffer_shuffles_further():
    def shards_between(buffer: int) -> int:
        table, _ = counted(shuffle_buffer=buffer)
        names = [table.located(row).shard for row in range(NUM_ROWS)]
        return sum(a != b for a, b in pairwise(names))

    assert shards_between(1) == len(LENGTHS) - 1
    assert shards_between(NUM_ROWS) > len(LENGTHS)


def test_a_shard_that_has_changed_since_the_run_began_is_told(tmp_path: Path):
    table, _ = counted(tmp_path / "shards.jsonl", seed=None)
    table[NUM_ROWS]
    table, shards = counted(tmp_path / "shards.jsonl", seed=None)
    shards[1].rows.pop()
    with pytest.raises(StreamError, match=r"shard 1 of s has 3 rows and had 4 before"):
        _ = [table[row] for row in range(NUM_ROWS)]


def write_bad(folder: Path, *bad: int) -> str:
    """Twenty lines, some of whose images are missing."""
    path = write_shards(folder, "jsonl")
    for number in bad:
        (folder / f"{number}.png").unlink()
    return path


def test_a_bad_row_is_named_with_its_file_and_the_next_one_taken(tmp_path: Path):
    path = write_bad(tmp_path, 8, 13)
    log = tmp_path / "bad.jsonl"
    drawn = [
        batch for (batch,) in islice(steps(streamed(path), bad=BadRows(max_share=1.0, log=log)), 10)
    ]
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["source"] for line in told} == {path}
    whys = Counter(line["why"].partition(":")[0] for line in told)
    assert whys == {f"row 1 of {tmp_path}/1.jsonl": 3, f"row 2 of {tmp_path}/2.jsonl": 3}
    good = streamed(write_shards(tmp_path / "good", "jsonl")).in_order(3)
    bad = {line["row"] for line in told}
    sources: Any = {"generation": [WeightedSource(streamed(path), 1.0)]}
    fresh = BadRows(max_share=1.0, log=log)
    for step, batch in enumerate(drawn):
        named = rows_of_step(sources, DRAWING, seed=3, step=step, bad=fresh)
        for ordinal, (_, _, row), sample in zip(range(6 * step, 60), named, batch, strict=False):
            assert row == next(n for n in range(ordinal, 99) if n not in bad)
            assert sample.startswith(f"{prompts(good, range(row, row + 1), seed=None)[0]} ")


def test_a_stream_of_bad_rows_stops_the_run(tmp_path: Path):
    none = streamed(write_bad(tmp_path, *range(NUM_ROWS)))
    with pytest.raises(DataError, match=r"none of 1000 rows in turn of .* makes a sample"):
        next(steps(none, bad=BadRows(max_share=1.0)))


@pytest.mark.parametrize("end", ["jsonl", "jsonl.gz", "parquet"])
def test_a_file_that_breaks_off_stops_the_run_and_is_no_bad_row(tmp_path: Path, end: str):
    path = write_shards(tmp_path, end)
    whole = (tmp_path / f"2.{end}").read_bytes()
    (tmp_path / f"2.{end}").write_bytes(whole[:-5])
    bad = BadRows(max_share=1.0)
    with pytest.raises(StreamError, match=rf"cannot read on in {tmp_path}/2\.{end}: ") as told:
        list(islice(steps(streamed(path), bad=bad), 10))
    assert "\n" not in str(told.value)
    assert not bad.found


def test_a_stream_has_no_length_and_nothing_of_it_is_kept(tmp_path: Path, shards: str):
    source = streamed(shards)
    assert not hasattr(source, "__len__")
    prompts(source, range(5))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


def test_the_number_of_rows_is_known_at_the_end_and_not_before(shards: str):
    source = streamed(shards)
    assert all(source.has(row) for row in range(NUM_ROWS))
    assert source.num_rows is None
    assert not source.has(NUM_ROWS)
    assert source.num_rows == NUM_ROWS
