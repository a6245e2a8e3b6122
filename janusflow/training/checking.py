"""Check every source of a recipe; one that cannot be opened does not hide what the others hold."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

from janusflow.config.data import DataConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.data.check import MeasuringPreparation, SourceReport, check_source, chosen_rows
from janusflow.data.mixture import KINDS
from janusflow.data.prepare import Preparation
from janusflow.training.inputs import Inputs
from janusflow.training.stage import open_sources

Progress = Callable[..., Iterable[int]]


def check_data(
    inputs: Inputs, *, limit: int | None = None, progress: Progress = lambda rows, **_: rows
) -> Iterator[SourceReport]:
    """Yield a report of each source, in the recipe's order.

    Args:
        inputs: recipe, preparation and collator.
        limit: rows of each source to check, spread at random; None for all.
        progress: wraps the rows of a source; tqdm fits.
    """
    prepare = _measuring(inputs.prepare)
    for kind in KINDS:
        for config in getattr(inputs.recipe.data, kind):
            told: dict[str, Any] = {
                "kind": kind,
                "max_bad_share": inputs.recipe.mixture.max_bad_share,
            }
            try:
                opened = open_sources(DataConfig(**{kind: (config,)}), prepare)[kind]
            except (ConfigError, DataError) as error:
                yield SourceReport(name=config.path, not_opened=str(error), **told)
                continue
            for source, _ in opened:
                report = SourceReport(name=source.name, num_rows=len(source), **told)
                rows = progress(chosen_rows(len(source), limit), desc=f"{kind} {source.name}")
                check_source(source, rows, inputs.collate, report, prepare.sizes)
                yield report


def _measuring(prepare: Preparation) -> MeasuringPreparation:
    given = {field.name: getattr(prepare, field.name) for field in fields(prepare)}
    return MeasuringPreparation(**given)
