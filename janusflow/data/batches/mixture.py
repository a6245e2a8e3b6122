"""Which kinds a step's samples are, and which rows they come from: functions of seed and step."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np

from janusflow.config.data import DataConfig, SourceConfig
from janusflow.config.errors import ConfigError
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.batches.collate import Built, Collator, TrainBatch
from janusflow.data.samples import Sample
from janusflow.data.sources.base import BadRows, WeightedSource, build_sample, planned_rows
from janusflow.data.sources.order import counts_before

T = TypeVar("T")
Kind = Literal["understanding", "generation", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def sources_by_kind(data: DataConfig) -> dict[Kind, tuple[SourceConfig, ...]]:
    """The sources a recipe lists under each kind."""
    return {kind: getattr(data, kind) for kind in KINDS}


class SampleSlot(NamedTuple):
    """One sample of a step: its kind, and how many of its kind the run had before."""

    kind: Kind
    ordinal: int


def plan(config: MixtureConfig, step: int) -> list[SampleSlot]:
    """A step's samples by kind. Counts follow the shares as closely as whole numbers can."""
    before, after = _drawn_before(config, step), _drawn_before(config, step + 1)
    return [
        SampleSlot(kind, ordinal)
        for kind, first, end in zip(KINDS, before, after, strict=True)
        for ordinal in range(first, end)
    ]


class SampleSource(NamedTuple):
    """Where a sample of a step came from."""

    kind: Kind
    source: str
    row: int


def rows_of_step(
    sources: Mapping[Kind, Sequence[WeightedSource]],
    config: MixtureConfig,
    *,
    seed: int,
    step: int,
    bad: BadRows,
) -> list[SampleSource]:
    """The rows of a step's samples in all processes, in the step's order; nothing is read."""
    bad.reread()
    found = []
    for kind, ordinal in plan(config, step):
        source, rows = planned_rows(sources[kind], ordinal, seed=seed)
        row = next(row for row in rows if (source.name, row) not in bad.found)
        found.append(SampleSource(kind, source.name, row))
    return found


def mixed_batches(
    sources: Mapping[Kind, Sequence[WeightedSource]],
    collate: Collator,
    config: MixtureConfig,
    *,
    seed: int,
    step: int,
    own_parts: Callable[[Sequence[int]], Sequence[Sequence[int]]] = lambda items: [items],
    balance: Callable[[list[list[Built]]], list[list[Built]]] = lambda parts: parts,
    bad: BadRows | None = None,
) -> Iterator[list[TrainBatch]]:
    """Yield each step's batches from `step` on: sample i of a step depends on (seed, step, i) only.

    Args:
        sources: where each kind comes from.
        collate: makes a batch of samples.
        config: shares, and how many samples a step has.
        seed: decides the order of rows and all choices within them.
        step: the first step.
        own_parts: picks, of the step's sample numbers, those this process is to make, by batch.
        balance: swaps samples that processes have made before they are packed.
        bad: keeps count of rows that make no sample. `rows_tried` and `rows_bad` in the batches'
            tallies add up, over steps and processes, to what its `require_few` judges.

    Raises:
        ConfigError: a kind has a share but no source.
        DataError: all rows of a source are bad.
        StreamError: a stream breaks off.
    """
    bad = BadRows(max_share=config.max_bad_share) if bad is None else bad
    while True:
        parts = own_parts(range(config.batch_size))
        own = sorted(chain.from_iterable(parts))
        built = build_samples(
            sources, collate.build, config, own=own, seed=seed, step=step, bad=bad
        )
        batches = [
            collate.pack(part) for part in balance([[built[i] for i in part] for part in parts])
        ]
        yield [
            replace(batch, batch_stats=batch.batch_stats | bad.take_counts()) for batch in batches
        ]
        step += 1


def build_samples(
    sources: Mapping[Kind, Sequence[WeightedSource]],
    build: Callable[[Sample], T],
    config: MixtureConfig,
    *,
    own: Iterable[int],
    seed: int,
    step: int,
    bad: BadRows,
) -> dict[int, T]:
    """Some of a step's samples by their numbers, which should ascend, as streams want it.

    Raises:
        ConfigError: a kind has a share but no source.
        DataError: all rows of a source are bad.
        StreamError: a stream breaks off.
    """
    planned = plan(config, step)
    require_sources(sources, [kind for kind, _ in planned])
    return {
        i: build_sample(
            sources[planned[i].kind],
            planned[i].ordinal,
            seed=seed,
            rng=np.random.default_rng((seed, step, i)),
            build=build,
            bad=bad,
        )
        for i in own
    }


def require_sources(sources: Mapping[Kind, Sequence[object]], wanted: Iterable[Kind]) -> None:
    """Refuse kinds that nothing makes.

    Raises:
        ConfigError: a kind has a share but no source.
    """
    missing = sorted({kind for kind in wanted if not sources.get(kind)})
    if missing:
        raise ConfigError(
            f"the mixture wants {', '.join(missing)} samples but the recipe has no source of "
            "them: set that share to 0 or name a source."
        )


def _drawn_before(config: MixtureConfig, step: int) -> list[int]:
    """How many samples of each kind the steps before this one hold."""
    total, start = np.zeros(len(KINDS), dtype=int), 0
    for ratio in config.ratios:
        end = step if ratio.until is None else min(step, ratio.until)
        if end > start:
            total += counts_before((end - start) * config.batch_size, _shares(ratio))
            start = end
    return total.tolist()


def _shares(ratio: Ratio) -> list[float]:
    return [getattr(ratio, kind) for kind in KINDS]
