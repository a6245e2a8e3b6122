"""Arguments that nobody knows: refused by name, with what to use instead."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from janusflow.config.errors import ConfigError


def refuse_unknown(
    call: str,
    given: Iterable[str],
    *,
    known: Collection[str],
    names: Mapping[str, str] = MappingProxyType({}),
    otherwise: str = "leave it out",
) -> None:
    """Refuse the first argument that `call` does not know.

    Args:
        call: such as jf.generate.
        given: names of arguments.
        known: those that the call has.
        names: for those of other libraries what to use.
        otherwise: what to do about any other.

    Raises:
        ConfigError: there is such an argument.
    """
    for name in given:
        if name in known:
            continue
        close = get_close_matches(name, known, n=1)
        guess = f"use {close[0]} if you meant that" if close else otherwise
        raise ConfigError(f"{call} has no argument {name}: {names.get(name, guess)}.")
