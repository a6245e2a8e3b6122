"""What the `data` commands share: naming a recipe or a data file, and opening it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from janusflow.training.stage.inputs import Inputs

Target = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|DATA",
        help="A recipe (file or name); or a data file, pattern, folder or hub data.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings of a recipe to change (dotted.key=value), or more files."),
]
Format = Annotated[
    str | None, typer.Option("--format", help="Of data without a recipe, if it cannot be told.")
]
Kind = Annotated[
    str | None, typer.Option(help="understanding, generation or text; by default all it can be.")
]
Images = Annotated[Path | None, typer.Option(help="Folder that relative image paths start from.")]
DataOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="What only this format knows, e.g. caption=COLUMN; repeatable."),
]
StandIn = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Whose tokenizer and sizes to use: mini, folder, hub id."),
]

NUMBERS = ("streaming", "shuffle_buffer", "frames")
"""Options that are no text."""


def open_data(
    target: str,
    overrides: list[str] | None,
    format_name: str | None,
    kind: str | None,
    images: Path | None,
    option: list[str] | None,
    model: str | None,
) -> "Inputs":
    """Open what a `data` command was given; notes go to stderr."""
    import yaml

    from janusflow.config.errors import ConfigError
    from janusflow.interop.hub import find_model
    from janusflow.training.stage.inputs import FileOptions, open_inputs

    options = [pair.partition("=") for pair in option or []]
    unclear = [name for name, separator, _ in options if not separator]
    if unclear:
        raise ConfigError(f"--option {unclear[0]}: wanted name=value, e.g. caption=title.")
    file = FileOptions(
        format=format_name,
        kind=kind,
        images=images,
        options={
            name: yaml.safe_load(value) if name in NUMBERS else value for name, _, value in options
        },
    )
    name = stand_in(target, model)
    folder = None if name is None else find_model(name)
    inputs = open_inputs(target, file, model=folder, overrides=tuple(overrides or ()))
    for note in inputs.notes:
        typer.echo(f"note: {note}", err=True)
    return inputs


def stand_in(target: str, model: str | None) -> str | None:
    """The model whose tokenizer and sizes are used; None for a recipe's own."""
    from janusflow.training.shipped import is_recipe

    return model if model is not None or is_recipe(target) else "mini"
