"""The recipes that ship with the package, found, listed and copied by their names.

A name is the path inside of `recipes/` without `.yaml`: `mini` is a folder of recipes, run in
order, `mini/8-stage3` one of them.
"""

import difflib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from janusflow.config.errors import ConfigError
from janusflow.config.records import EXTENDS, read_tree
from janusflow.config.training import LoopConfig

ENDINGS = (".yaml", ".yml")
FOLDER = "recipes"


@dataclass(frozen=True, kw_only=True)
class ShippedRecipe:
    """What a list of recipes tells."""

    name: str
    task: str
    steps: int | None
    """Optimizer steps; None where nothing is trained."""
    about: str
    """First sentence of the file's first comment."""


def recipes_folder() -> Path:
    """Where they are: inside the package where that was installed from a wheel, else beside it."""
    package = Path(__file__).parents[1]
    installed = package / FOLDER
    return installed if installed.is_dir() else package.parent / FOLDER


def find_recipe(name: str | Path) -> Path:
    """The recipe file, or the folder of them, that a path or a name stands for.

    A file, and a folder with recipes in it, comes before a shipped recipe of the same name.

    Raises:
        ConfigError: there is none.
    """
    given = Path(name)
    named = given.with_name(f"{given.name}.yaml")
    if given.is_file() or (given.is_dir() and any(given.glob("*.yaml"))):
        return given
    if named.is_file():
        return named
    return _shipped(name)


def is_recipe(name: str) -> bool:
    """Whether a name is a recipe's and not a data file's."""
    return name.endswith(ENDINGS) or (not Path(name).exists() and name in _by_name())


def shipped_recipes() -> list[ShippedRecipe]:
    """All of them, by name."""
    return [_told(name, path) for name, path in _by_name().items() if path.is_file()]


def copy_recipe(name: str, folder: Path | None = None) -> list[Path]:
    """Copy a shipped recipe, or a folder of them, with what they extend; returns the new files.

    Args:
        name: as `janusflow recipes` lists it, or a folder's.
        folder: where to, by default the first part of the name.

    Raises:
        ConfigError: there is no such recipe, or a file would be written over.
    """
    source = _shipped(name)
    files = {
        file: None
        for each in ([source] if source.is_file() else sorted(source.glob("*.yaml")))
        for file in _with_extended(each)
    }
    first = source.relative_to(recipes_folder()).parts[0]
    root, target = recipes_folder() / first, folder or Path(first)
    copies = {file: target / file.relative_to(root) for file in files}
    there = next((copy for copy in copies.values() if copy.exists()), None)
    if there is not None:
        raise ConfigError(f"{there} is there already: name another folder to copy {name} to.")
    for file, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return [*copies.values()]


def _shipped(name: str | Path) -> Path:
    shipped = _by_name()
    key = Path(name).as_posix().removeprefix(f"{FOLDER}/").removesuffix(".yaml")
    if key in shipped:
        return shipped[key]
    near = difflib.get_close_matches(key, shipped, n=3, cutoff=0.4) or [*shipped][:3]
    raise ConfigError(
        f"no recipe at {name}: wanted a .yaml file, a folder of them, or the name of a recipe that "
        f"ships ({', '.join(near)}; `janusflow recipes` lists all)."
    )


def _by_name() -> dict[str, Path]:
    """Every recipe, and every folder of them."""
    root = recipes_folder()
    files = sorted(root.rglob("*.yaml"), key=lambda file: _in_order(file.relative_to(root)))
    found: dict[str, Path] = {}
    for file in files:
        found[file.parent.relative_to(root).as_posix()] = file.parent
        found[file.relative_to(root).with_suffix("").as_posix()] = file
    return found


def _in_order(path: Path) -> tuple[str, int, str]:
    """By folder, a folder's own recipes before those of folders in it."""
    return path.parts[0], len(path.parts), path.as_posix()


def _told(name: str, path: Path) -> ShippedRecipe:
    tree = read_tree(path)
    loop = tree.get("loop")
    is_trained = loop is not None or tree["task"] == "stage"
    comment = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8"))
    words = re.sub(r"\s*\n?#\s*", " ", comment[0] if comment else "").strip()
    return ShippedRecipe(
        name=name,
        task=tree["task"],
        steps=(loop or {}).get("steps", LoopConfig().steps) if is_trained else None,
        about=re.split(r"(?<=\.) ", words, maxsplit=1)[0].rstrip("."),
    )


def _with_extended(path: Path) -> list[Path]:
    """A recipe and what it extends, step by step."""
    files = [path]
    while (base := yaml.safe_load(files[-1].read_text(encoding="utf-8")).get(EXTENDS)) is not None:
        files.append(files[-1].parent / base)
    return files
