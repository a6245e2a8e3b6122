"""The `janusflow` command: finds the subcommands, and turns a user's mistake into one line.

A subcommand is a file of this folder with a function `command`, listed in COMMANDS; two that share
the first of two words (`data check`, `data show`) are a group of their own, which may be a command
too (`recipes`, `recipes copy`). These files
are imported to show any help, so they import torch, transformers and the parts of janusflow that
need them inside `command` only. Exit codes: 0 done, 1 refused with a reason, 2 wrong usage,
130 interrupted.
"""

import platform
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from inspect import cleandoc
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from janusflow.config.errors import JanusFlowError, is_out_of_memory

COMMANDS: dict[str, str] = {
    "generate": "janusflow.cli.generate",
    "interpolate": "janusflow.cli.interpolate",
    "upscale": "janusflow.cli.upscale",
    "ask": "janusflow.cli.ask",
    "chat": "janusflow.cli.chat",
    "serve": "janusflow.cli.serve",
    "demo": "janusflow.cli.demo",
    "inspect": "janusflow.cli.inspect",
    "convert": "janusflow.cli.convert",
    "export onnx": "janusflow.cli.export",
    "train": "janusflow.cli.train",
    "tune": "janusflow.cli.tune",
    "recipes": "janusflow.cli.recipes",
    "recipes copy": "janusflow.cli.recipes_copy",
    "estimate": "janusflow.cli.estimate",
    "bench": "janusflow.cli.bench",
    "data check": "janusflow.cli.data_check",
    "data show": "janusflow.cli.data_show",
    "data cache": "janusflow.cli.data_cache",
    "eval": "janusflow.cli.eval",
}
"""Name of each subcommand, in the order help shows them, and the module of its `command`."""

GROUPS = {
    "data": "Check training data, look at it as the model will, keep what is computed of it.",
    "export": "Write a model for other programs than PyTorch.",
}
"""First words of subcommands of two words, and what help says of them."""


NEED_LESS = (
    "do less at once (--batch-size 1, smaller steps when training) or load less (--offload blocks, "
    "--quantize int8): docs/memory.md says what each takes."
)


class _Commands(TyperGroup):
    """The group of subcommands, with our errors explained instead of traced."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; what is no bug ends it with one line on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except JanusFlowError as error:
            _refuse(str(error), error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            _refuse(f"out of memory ({reason}): {NEED_LESS}", error)


class _CommandAndGroup(TyperGroup):
    """A command of one word, and those of two that begin with it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of two words; the one of one word is not run then."""
        self.callback = None
        return super().resolve_command(ctx, args)


def _refuse(told: str, error: Exception) -> NoReturn:
    typer.echo(f"error: {' '.join(told.split())}", err=True)
    raise typer.Exit(1) from error


def build_app(commands: dict[str, str]) -> typer.Typer:
    """Assemble the command line from a table such as COMMANDS."""
    app = typer.Typer(
        cls=_Commands,
        name="janusflow",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_janusflow)
    groups = {"": app}
    firsts = {name.partition(" ")[0] for name in commands if " " in name}
    for name, module in commands.items():
        command = import_module(module).command
        group, _, word = name.rpartition(" ")
        if name in firsts or (group and group not in groups):
            first = group or name
            groups[first] = _group(first, command if name == first else None)
            app.add_typer(groups[first])
        if name not in firsts:
            groups[group].command(word, help=_help(command))(command)
    return app


def _group(name: str, alone: Callable[..., None] | None) -> typer.Typer:
    """Subcommands of two words that share the first; help stays in the order of COMMANDS.

    Args:
        name: the first word.
        alone: what it does by itself; None shows the help.
    """
    group = typer.Typer(
        cls=TyperGroup if alone is None else _CommandAndGroup,
        name=name,
        help=GROUPS[name] if alone is None else _help(alone),
        no_args_is_help=alone is None,
        invoke_without_command=alone is not None,
        rich_markup_mode=None,
    )
    group.callback()(alone or (lambda: None))  # otherwise a lone command would lose its name
    return group


def _help(command: Callable[..., None]) -> str:
    """A command's docstring, its examples marked so that their lines are kept as they are."""
    paragraphs = cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(
        f"\b\n{text}" if text.startswith(("Example", "  janusflow")) else text
        for text in paragraphs
    )


def main() -> None:
    """Run the command line: the entry of the `janusflow` script."""
    build_app(COMMANDS)(prog_name="janusflow")


def _print_version(wanted: bool) -> bool:
    if wanted:
        # Read from the installed metadata: importing torch to ask its version takes seconds.
        parts = [f"{name} {version(name)}" for name in ("torch", "transformers", "diffusers")]
        parts.append(f"Python {platform.python_version()}")
        typer.echo(f"janusflow {version('janusflow')} ({', '.join(parts)})")
        raise typer.Exit
    return wanted


def _janusflow(
    version_wanted: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """JanusFlow: one model that sees and draws.

    A model is named the same way everywhere: `mini` (it ships with the package), a folder, or a
    hub id. `janusflow COMMAND --help` shows an example of each command.
    """


if __name__ == "__main__":
    main()
