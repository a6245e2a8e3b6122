"""The command line's frame: what it prints and how it exits, on a command made up here."""

import sys
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from janusflow.cli.main import build_app
from janusflow.config.errors import PromptError

RUNNER = CliRunner()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """A command line with one command, `fail`, that raises what its argument asks for."""

    def command(how: str) -> None:
        """Fail as asked. Example: janusflow fail mistake."""
        errors = {
            "mistake": PromptError("prompt has 9000 tokens,\nwanted at most 4096: shorten it."),
            "interrupt": KeyboardInterrupt(),
            "bug": ZeroDivisionError("ours"),
        }
        raise errors[how]

    module = ModuleType("command_that_fails")
    module.command = command
    monkeypatch.setitem(sys.modules, "command_that_fails", module)
    return build_app({"fail": "command_that_fails"})


def test_a_mistake_is_one_line_on_stderr_and_exit_code_1(app: typer.Typer):
    result = RUNNER.invoke(app, ["fail", "mistake"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == ("error: prompt has 9000 tokens, wanted at most 4096: shorten it.\n")


def test_an_interrupt_exits_with_130(app: typer.Typer):
    assert RUNNER.invoke(app, ["fail", "interrupt"]).exit_code == 130


def test_our_own_bug_keeps_its_traceback(app: typer.Typer):
    assert isinstance(RUNNER.invoke(app, ["fail", "bug"]).exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["nosuch"], ["fail"], ["fail", "mistake", "--nosuch"]])
def test_wrong_usage_exits_with_2(app: typer.Typer, arguments: list[str]):
    assert RUNNER.invoke(app, arguments).exit_code == 2


def test_help_shows_every_command_and_its_example(app: typer.Typer):
    assert "fail" in RUNNER.invoke(app, ["--help"]).stdout
    assert "Example: janusflow fail mistake." in RUNNER.invoke(app, ["fail", "-h"]).stdout


def test_version_names_the_libraries_that_matter(app: typer.Typer):
    result = RUNNER.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("janusflow 0.")
    assert all(name in result.stdout for name in ("torch", "transformers", "diffusers", "Python"))
