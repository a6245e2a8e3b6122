"""What makes a stage's samples, opened without its weights: to check and to show the data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from janusflow.config.data import DataConfig, SourceConfig
from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.batches.collate import Collator
from janusflow.data.batches.mixture import KINDS, Kind
from janusflow.data.prepare import Preparation, preparation
from janusflow.data.sources.adapters import SHOWN_NAMES
from janusflow.data.sources.formats import LAYOUTS
from janusflow.data.sources.guess import guess_format, kinds_of
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.recipes import read_stage
from janusflow.training.shipped import is_recipe


class Inputs(NamedTuple):
    """A stage's way from rows to batches."""

    recipe: StageRecipe
    prepare: Preparation
    collate: Collator
    notes: list[str]
    """What was assumed because it is not at hand."""


class FileOptions(NamedTuple):
    """How to read a data file that no recipe describes; what is None is guessed."""

    format: str | None = None
    kind: str | None = None
    images: Path | None = None
    options: Mapping[str, Any] = {}


def open_inputs(
    path: str, file: FileOptions, *, model: Path | None, overrides: tuple[str, ...]
) -> Inputs:
    """What makes the samples of a recipe, or of a data file, folder or hub data set.

    Args:
        path: the recipe or the data.
        file: how to read data without a recipe.
        model: folder of a model whose tokenizer and sizes stand for the recipe's; without a
            recipe, the one to use.
        overrides: changes to the recipe, as `dotted.key=value`; of data, more files of its kind,
            which is what a shell makes of a pattern without quotes.

    Raises:
        ConfigError: the options do not go together, or the recipe is no stage's.
        CheckpointError: the recipe's tokenizer or sizes are not at hand.
        DataError: the data is not there or its format cannot be told.
    """
    if is_recipe(path):
        recipe = _read_stage(Path(path), file, overrides)
        return inputs_of(recipe if model is None else _with_model(recipe, model))
    settings = [each for each in overrides if "=" in each]
    if settings:
        raise ConfigError(f"{' '.join(settings)}: settings to change need a recipe, not {path}.")
    if model is None:
        raise ConfigError(f"{path}: no recipe and no model: say whose tokenizer and sizes to use.")
    if file.kind not in (None, *KINDS):
        raise ConfigError(f"kind {file.kind!r} is unknown: use {', '.join(KINDS)}.")
    notes = []
    if file.format is None:
        name, names = guess_format(path, streaming=file.options.get("streaming", False))
        has = ", ".join(f"{each:.40}" for each in names[:SHOWN_NAMES])
        notes.append(f"{path} has {has} and is read as {name}; --format names another.")
        file = file._replace(format=name)
    inputs = inputs_of(_recipe_around((path, *overrides), file, model))
    return inputs._replace(notes=[*inputs.notes, *notes])


def inputs_of(recipe: StageRecipe) -> Inputs:
    """What makes a recipe's samples.

    Raises:
        CheckpointError: its tokenizer or sizes are not at hand.
    """
    _, vae, processor, notes = sizes = sizes_of(recipe)
    if processor is None:
        raise CheckpointError(
            f"processor={recipe.processor} is not at hand, so tokens cannot be counted: download "
            "it, or let another model stand for it (--model mini: other sizes and lengths)."
        )
    return Inputs(
        recipe=recipe,
        prepare=preparation(processor, sizes.model.config, vae, crops=recipe.data.crops),
        collate=Collator(
            processor.tokenizer.backend_tokenizer,
            sizes.model.config,
            row_tokens=recipe.mixture.row_tokens,
        ),
        notes=notes,
    )


def _read_stage(path: Path, file: FileOptions, overrides: tuple[str, ...]) -> StageRecipe:
    given = [name for name, value in file._asdict().items() if value]
    if given:
        raise ConfigError(
            f"{path} is a recipe, and says {', '.join(given)} itself: leave --{given[0]} out."
        )
    return read_stage(path, overrides)


def _with_model(recipe: StageRecipe, model: Path) -> StageRecipe:
    """The recipe with the parts of a complete model folder."""
    folder = str(model)
    return replace(recipe, start=folder, new=None, processor=folder, vae=folder)


def _recipe_around(paths: Sequence[str], file: FileOptions, model: Path) -> StageRecipe:
    """A stage in which a model learns from data files of one format."""
    name = file.format or ""
    if name not in LAYOUTS:
        raise ConfigError(f"format {name!r} is unknown: use {', '.join(LAYOUTS)}.")
    wanted: list[Kind] = [kind for kind in KINDS if kind == file.kind] or kinds_of(name)
    sources = tuple(
        SourceConfig(format=name, path=path, images=file.images, options=dict(file.options))
        for path in paths
    )
    understanding, generation, text = (float(kind in wanted) for kind in KINDS)
    ratio = Ratio(understanding=understanding, generation=generation, text=text)
    return StageRecipe(
        task="stage",
        run=Path(paths[0]),
        start=str(model),
        data=DataConfig(**dict.fromkeys(wanted, sources)),
        trainable=("llm",),
        mixture=MixtureConfig(ratios=(ratio,)),
    )
