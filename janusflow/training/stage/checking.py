"""Check every source of a recipe; one that cannot be opened does not hide what the others hold."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from janusflow.config.errors import ConfigError, DataError, StreamError
from janusflow.data.batches.mixture import KINDS, require_sources, sources_by_kind
from janusflow.data.inspect.check import SourceReport, check_source, chosen_rows
from janusflow.data.sources.base import Source, Stream
from janusflow.data.sources.formats import open_sources
from janusflow.training.stage.inputs import Inputs

STREAMED_ROWS = 1000
"""Rows of a streaming source that are checked if nobody says how many."""
Progress = Callable[..., Iterable[int]]


def check_data(
    inputs: Inputs, *, limit: int | None = None, progress: Progress = lambda rows, **_: rows
) -> Iterator[SourceReport]:
    """Yield a report of each source, in the recipe's order.

    Args:
        inputs: recipe, preparation and collator.
        limit: rows of each source to check, spread at random; None for all. Of a source that is
            streamed the first are checked, and STREAMED_ROWS for None.
        progress: wraps the rows of a source; tqdm fits.

    Raises:
        ConfigError: a kind has a share, be it at a later step, but no source.
    """
    data, mixture = inputs.recipe.data, inputs.recipe.mixture
    configs = sources_by_kind(data)
    require_sources(
        configs, [kind for kind in KINDS for ratio in mixture.ratios if getattr(ratio, kind)]
    )
    sizes: list[tuple[int, int]] = []
    prepare = replace(inputs.prepare, on_open=lambda image: sizes.append(image.size))
    for kind, listed in configs.items():
        told: dict[str, Any] = {"kind": kind, "max_bad_share": mixture.max_bad_share}
        for config in listed:
            try:
                opened = open_sources({kind: (config,)}, prepare)[kind]
            except (ConfigError, DataError) as error:
                yield SourceReport(name=config.path, not_opened=str(error), **told)
                continue
            for source, _ in opened:
                report = SourceReport(name=source.name, **told)
                chosen = _rows(source, limit)
                rows = iter(progress(chosen, desc=f"{kind} {source.name}"))
                if isinstance(source, Stream):
                    rows = takewhile(source.has, rows)
                try:
                    check_source(source, rows, inputs.collate, report, sizes)
                except StreamError as error:
                    report.not_opened = str(error)
                report.num_rows = source.num_rows if isinstance(source, Stream) else len(source)
                yield report


def _rows(source: Source | Stream, limit: int | None) -> Sequence[int]:
    """The rows of a source to check; of one that is streamed the first, in the files' order."""
    if isinstance(source, Stream):
        return range(STREAMED_ROWS if limit is None else limit)
    return chosen_rows(len(source), limit)
