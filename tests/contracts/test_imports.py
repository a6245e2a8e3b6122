"""Import direction, and how little a light import loads."""

import os
import pkgutil
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import janusflow.cli
import janusflow.config
from janusflow.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "diffusers", "numpy")
HELP_SECONDS = 1.0

REPORT_HEAVY = f"import sys; sys.exit(' '.join(m for m in {HEAVY} if m in sys.modules) or 0)"
RUN_COMMAND_LINE = """
from janusflow.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def run(source: str, *arguments: str) -> str:
    """Run Python in a process of its own and return what it prints; it fails with its stderr."""
    result = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_imports_point_downwards():
    """The contracts are those of pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([program, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_importing_janusflow_loads_nothing_heavy():
    run(f"import janusflow\n{REPORT_HEAVY}")


def test_config_is_free_of_torch():
    modules = [m.name for m in pkgutil.iter_modules(janusflow.config.__path__, "janusflow.config.")]
    assert modules
    run("".join(f"import {module}\n" for module in modules) + REPORT_HEAVY)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_quick_loads_nothing_heavy_and_shows_an_example(command: str):
    """Processor time, not the clock: a busy machine must not fail this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = run(RUN_COMMAND_LINE + REPORT_HEAVY, *command.split(), "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < HELP_SECONDS
    assert f"janusflow {command} " in told.partition("\n")[2] or not command, told


def test_every_file_with_a_command_is_listed_and_the_other_way_round():
    files = {
        name
        for _, name, is_folder in pkgutil.iter_modules(janusflow.cli.__path__)
        if not is_folder
        and "\ndef command(" in (ROOT / f"janusflow/cli/{name}.py").read_text(encoding="utf-8")
    }
    assert files == {module.rpartition(".")[2] for module in COMMANDS.values()}
