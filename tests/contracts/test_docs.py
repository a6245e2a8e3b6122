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
READMES = [ROOT / "README.md", ROOT / "README.ko.md"]
DOCS = sorted((ROOT / "docs").glob("*.md"))
OTHERS = [ROOT / folder / "README.md" for folder in ("examples", "deploy", "integrations/comfyui")]
PAGES = [*READMES, *DOCS, *OTHERS]
SITE = ROOT / "mkdocs.yml"
MAX_README_LINES = 120
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PAGE = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix().removeprefix("docs/")
)


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


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_readme_is_read_in_two_minutes(readme: Path):
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


def test_both_readmes_have_the_same_code_and_links_and_lead_to_each_other():
    code = [code_blocks(readme) for readme in READMES]
    assert code[0] == code[1]
    links = [LINK.findall(readme.read_text(encoding="utf-8")) for readme in READMES]
    names = {readme.name for readme in READMES}
    assert [each[0] for each in links] == ["README.ko.md", "README.md"]
    assert sorted(set(links[0]) - names) == sorted(set(links[1]) - names)


def test_every_page_has_its_place_in_the_site_and_links_to_pages_of_it_alone():
    """What lies outside of docs/ is named by its path: a link would be broken in the site."""
    named = re.findall(r"[\w-]+\.md$", SITE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(named) == [page.name for page in DOCS]
    outside = [
        f"{page.name}: {link}"
        for page in DOCS
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if link.startswith(("../", "/"))
    ]
    assert not outside


def test_every_example_is_in_their_list():
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    scripts = [path.name for path in (ROOT / "examples").glob("*.py")]
    assert len(scripts) >= 8
    assert [name for name in scripts if f"`{name}`" not in listed] == []


@PAGE
def test_links_lead_somewhere(page: Path):
    links = LINK.findall(page.read_text(encoding="utf-8"))
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
