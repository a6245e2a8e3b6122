"""What a reader of the folders may rely on: no file leads back to itself, no folder is a heap."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "janusflow"
MAX_FILES = 14


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imported_by(path: Path) -> set[str]:
    """Our modules that a file imports, inside functions too; the package itself only hands on."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & modules().keys() - {PACKAGE.name}


def reached_from(start: str) -> set[str]:
    """Modules that importing one leads to."""
    reached, waiting = set[str](), [start]
    while waiting:
        for name in imported_by(modules()[waiting.pop()]) - reached:
            reached.add(name)
            waiting.append(name)
    return reached


def test_no_two_files_import_each_other():
    assert not [name for name in modules() if name in reached_from(name)]


def test_few_files_lie_flat_in_a_folder():
    flat: dict[str, int] = defaultdict(int)
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            flat[path.parent.relative_to(PACKAGE).as_posix()] += 1
    heaps = {folder: count for folder, count in flat.items() if count > MAX_FILES}
    assert heaps.keys() <= {"cli"}, heaps  # one file a command
