"""Which kinds a step's samples are, and where they come from: functions of seed and step alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from janusflow.config.errors import ConfigError
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.collate import Collator, TrainBatch
from janusflow.data.samples import Sample

Kind = Literal["understanding", "generation", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Draw = Callable[[np.random.Generator], Sample]
"""Draws one sample of its kind; all its choices come from the generator."""


def counts(ratio: Ratio, batch_size: int, rng: np.random.Generator) -> dict[Kind, int]:
    """Split a batch by shares, in whole numbers that are right on average."""
    shares = np.array([getattr(ratio, kind) for kind in KINDS], dtype=float)
    edges = np.round(batch_size * np.cumsum([0.0, *shares]) / shares.sum(), 9)
    # One offset for all kinds: the sum is exact and every kind is right on average.
    whole = np.diff(np.floor(edges + rng.random()))
    return {kind: int(count) for kind, count in zip(KINDS, whole, strict=True)}


def mixed(first: Draw, second: Draw, *, share_of_second: float) -> Draw:
    """Draw from one of two sources of the same kind."""

    def draw(rng: np.random.Generator) -> Sample:
        return (second if rng.random() < share_of_second else first)(rng)

    return draw


def mixed_batches(
    sources: Mapping[Kind, Draw],
    collate: Collator,
    config: MixtureConfig,
    *,
    seed: int,
    step: int,
    own_parts: Callable[[Sequence[int]], Sequence[Sequence[int]]] = lambda items: [items],
) -> Iterator[list[TrainBatch]]:
    """Yield each step's batches from `step` on: sample i of a step depends on (seed, step, i) only.

    `own_parts` picks, of the step's sample numbers, those this process is to make, by batch.
    """
    while True:
        rng = np.random.default_rng((seed, step))
        split = counts(config.ratio_at(step), config.batch_size, rng)
        missing = [kind for kind, count in split.items() if count and kind not in sources]
        if missing:
            raise ConfigError(
                f"the mixture wants {', '.join(missing)} samples but the recipe has no source of "
                "them: set that share to 0 or name a source."
            )
        order: list[Kind] = [kind for kind in KINDS for _ in range(split[kind])]
        yield [
            collate(
                [
                    # numpy takes (seed, step, 0) for (seed, step), whose stream split the step.
                    sources[order[i]](np.random.default_rng((seed, step, i + 1)))
                    for i in part
                ]
            )
            for part in own_parts(range(len(order)))
        ]
        step += 1
