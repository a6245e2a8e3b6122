"""Frozen dataclasses from YAML: strict keys, dotted overrides, one-line errors.

Knows nothing of models or training. Unknown keys name their nearest neighbour.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from janusflow.config.errors import ConfigError

Record = TypeVar("Record")

WANTED = {int: "a whole number", str: "text", bool: "true or false"}
"""What messages call a value's type."""
RENAMED = {
    "accumulate": "micro_batch_size",
    "scale": "parallelism",
    "shard": "hsdp_shard_size",
    "recompute": "activation_checkpointing",
    "picture": "image",
    "pictures": "images",
}
"""Keys that had another name before."""
EXTENDS = "extends"
"""Key that names the file, relative to its own, that a file says changes of."""


def load_record(kind: type[Record], path: Path, overrides: Sequence[str] = ()) -> Record:
    """Read a YAML file into a dataclass; `overrides` are `dotted.key=value` strings.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value does not fit.
    """
    tree = read_tree(path)
    for override in overrides:
        _override(tree, override)
    return build_record(kind, tree, where=str(path))


def read_tree(path: Path, *, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file of `key: value` lines, over those of the file that it `extends`.

    Sections are merged key by key; anything else, lists too, replaces what the other file says.

    Args:
        path: the file.
        extended_by: the files on the way to this one.

    Raises:
        ConfigError: a file is missing, not YAML, holds something else, or extends itself.
    """
    tree = _read_mapping(path)
    if EXTENDS not in tree:
        return tree
    name = tree.pop(EXTENDS)
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {EXTENDS} is {name!r}: wanted the path of one recipe.")
    base, chain = path.parent / name, (*extended_by, path)
    if not base.is_file():
        raise ConfigError(f"{path}: {EXTENDS} is {name}, but there is no file {base}: mend it.")
    if any(base.samefile(each) for each in chain):
        told = " -> ".join(map(str, (*chain, base)))
        raise ConfigError(f"{told}: a recipe cannot extend itself: take one of them out.")
    return merged(read_tree(base, extended_by=chain), tree)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a tree over another; only where both have a section, that is merged too."""
    tree = {**base, **changes}
    for key in base.keys() & changes.keys():
        if isinstance(base[key], Mapping) and isinstance(changes[key], Mapping):
            tree[key] = merged(base[key], changes[key])
    return tree


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"no recipe at {path}: wanted a .yaml file or a folder of them.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason}): wanted YAML.") from error
    tree = _parsed(text, where=str(path)) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}: wanted `key: value` lines.")
    return typing.cast(dict[str, Any], tree)


def with_present_names(tree: Any) -> Any:
    """A tree, or a part of one, with keys that were written under earlier names renamed."""
    if isinstance(tree, Mapping):
        return {RENAMED.get(key, key): with_present_names(value) for key, value in tree.items()}
    return [with_present_names(each) for each in tree] if isinstance(tree, list) else tree


def build_record(kind: type[Record], tree: Mapping[str, Any], *, where: str) -> Record:
    """Fill a dataclass from nested mappings, refusing unknown keys and wrong types."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    refuse_unknown(tree, fields, where=where)
    missing = [
        name
        for name, field in fields.items()
        if name not in tree
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}: add them.")
    values = {
        key: _convert(hints[key], value, where=f"{where}: {key}") for key, value in tree.items()
    }
    return kind(**values)


def refuse_unknown(keys: Iterable[Any], known: Collection[str], *, where: str) -> None:
    """Refuse keys that nobody reads, each with the nearest name that somebody does.

    Raises:
        ConfigError: a key is unknown.
    """
    for key in keys:
        if key not in known:
            near = [RENAMED[key]] if RENAMED.get(key) in known else None
            near = near or difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}."
            raise ConfigError(f"unknown key {key!r} in {where}: {hint}")


def has_setting(kind: Any, dotted: str) -> bool:
    """Tell whether records of this kind have a setting `section.key`; free sections have any."""
    for name in dotted.split("."):
        if not dataclasses.is_dataclass(kind):
            return True
        hints = typing.get_type_hints(kind)
        if name not in hints:
            return False
        kind = next((a for a in typing.get_args(hints[name]) if a is not type(None)), hints[name])
    return True


def to_tree(record: Any) -> dict[str, Any]:
    """Turn a record back into what YAML can hold."""
    return _plain(dataclasses.asdict(record))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _override(tree: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise ConfigError(
            f"override {override!r}: wanted key=value, e.g. loop.optimizer.learning_rate=1e-4."
        )
    *parents, last = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"override {override!r}: {parent} is a value, not a section.")
    tree[last] = _parsed(text, where=f"override {override!r}")


def _parsed(text: str, *, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} is not valid YAML: {reason}. Mend it and try again.") from error


def _convert(hint: Any, value: Any, *, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _convert(next(arg for arg in args if arg is not type(None)), value, where=where)
    if origin is typing.Literal:
        return _checked(value, value in args, where, f"one of {', '.join(map(str, args))}")
    if dataclasses.is_dataclass(hint):
        _checked(value, isinstance(value, Mapping), where, "a section")
        return build_record(typing.cast(Any, hint), value, where=where)
    if origin is tuple:
        _checked(value, isinstance(value, (list, tuple)), where, "a list")
        items = args[:1] * len(value) if args[-1] is Ellipsis else args
        _checked(value, len(items) == len(value), where, f"{len(items)} items")
        return tuple(_convert(item, v, where=where) for item, v in zip(items, value, strict=True))
    if origin is dict:
        _checked(value, isinstance(value, Mapping), where, "a section")
        return {key: _convert(args[1], item, where=f"{where}.{key}") for key, item in value.items()}
    if hint is float:
        # YAML reads 1e-4 as a string.
        try:
            return float(_checked(value, not isinstance(value, bool), where, "a number"))
        except (TypeError, ValueError):
            _checked(value, False, where, "a number")
    if hint is Path:
        return Path(_checked(value, isinstance(value, (str, Path)), where, "a path"))
    if hint is Any:
        return value
    exact = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    return _checked(value, exact, where, WANTED.get(hint, hint.__name__))


def _checked(value: Any, fits: bool, where: str, wanted: str) -> Any:
    if not fits:
        raise ConfigError(f"{where} is {value!r}: wanted {wanted}.")
    return value
