"""The command line's frame: what it prints and how it exits, on a command made up here."""

import sys
from types import ModuleType

import pytest
import torch
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
            "memory": MemoryError("model.safetensors: unable to mmap"),
            "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore."),
            "bug": ZeroDivisionError("ours"),
            "other bug": RuntimeError("shapes differ"),
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


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("memory", "error: out of memory (model.safetensors: unable to mmap): do less"),
        ("cuda", "error: out of memory (CUDA out of memory. Tried to allocate 2 GiB.): do less"),
    ],
)
def test_too_little_memory_is_one_line_with_ways_to_need_less(
    app: typer.Typer, how: str, told: str
):
    result = RUNNER.invoke(app, ["fail", how])
    assert result.exit_code == 1
    assert result.stderr.startswith(told)
    assert result.stderr.count("\n") == 1
    assert "--offload blocks" in result.stderr


@pytest.mark.parametrize(("how", "kind"), [("bug", ZeroDivisionError), ("other bug", RuntimeError)])
def test_our_own_bug_keeps_its_traceback(app: typer.Typer, how: str, kind: type[Exception]):
    assert isinstance(RUNNER.invoke(app, ["fail", how]).exception, kind)


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
