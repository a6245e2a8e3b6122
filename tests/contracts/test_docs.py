"""What README and docs name is there: links, files, commands and their options."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from janusflow.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAX_README_LINES = 120
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words after `janusflow` of every command line in a code block or between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in code_blocks(page) for line in block.replace("\\\n", " ").split("\n")]
    lines += re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines:
        found = re.search(r"(?:^|-m )janusflow(?:\.cli\.main)? (.*)", " ".join(line.split("\n")))
        if found:
            said = re.split(r"\s{2,}[^-\s]|\s#\s", found[1])[0]  # without what is said about it
            yield [word.strip("[]") for word in shlex.split(said)]


def options_of(command: str) -> set[str]:
    app = typer.Typer()
    app.command()(import_module(COMMANDS[command]).command)
    return {name for each in get_command(app).params for name in each.opts}


def unknown_words(words: list[str]) -> list[str]:
    """The command, if there is no such one, else the options it does not have."""
    for count in (2, 1):
        command = " ".join(words[:count])
        if command in COMMANDS:
            used = {word.partition("=")[0] for word in words[count:] if re.match(r"--?[a-z]", word)}
            return sorted(used - options_of(command) - {"--help", "-h"})
    return [] if words[0].startswith(("-", "TASK")) else [words[0]]


def test_the_readme_is_read_in_two_minutes():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


@PAGE
def test_links_lead_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@PAGE
def test_files_that_are_named_exist(page: Path):
    """Paths from the repository's root, the package's, or a folder that the same page names."""
    names = re.findall(r"`((?:[\w.-]+/)+\w+\.py)\b", page.read_text(encoding="utf-8"))
    missing = [
        name
        for name in names
        if not any((root / name).is_file() for root in (ROOT, ROOT / "janusflow"))
    ]
    assert not missing


@PAGE
def test_commands_have_the_options_that_are_shown(page: Path):
    wrong = {
        " ".join(words): unknown
        for words in command_lines(page)
        if words and (unknown := unknown_words(words))
    }
    assert not wrong


def test_a_wrong_option_and_a_wrong_command_are_seen():
    assert unknown_words(shlex.split("eval shapes --json --limit=3 --nosuch 1")) == ["--nosuch"]
    assert unknown_words(shlex.split("data check rows.json --kind text")) == []
    assert unknown_words(["paint", "--help"]) == ["paint"]


@PAGE
def test_python_that_is_shown_can_be_read(page: Path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in blocks:
        compile(block, page.name, "exec")
