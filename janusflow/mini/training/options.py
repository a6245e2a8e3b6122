"""Options of the sources of scenes, checked as they are read."""

from typing import Any, TypeVar

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError


def checked_options(
    config: SourceConfig, *, known: tuple[str, ...], needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A source's options, if they are all known and none is missing.

    Raises:
        ConfigError: they are not.
    """
    given = set(config.options)
    if given - set(known) or set(needed) - given:
        raise ConfigError(
            f"{config.path}: options {', '.join(config.options) or 'none'} of format scenes: "
            f"wanted {', '.join(needed) or 'nothing'}, and if you like "
            f"{', '.join(name for name in known if name not in needed)}."
        )
    return config.options


def probability(option: str, config: SourceConfig, *, otherwise: float) -> float:
    """An option that says how often something is so.

    Raises:
        ConfigError: it is not from 0 to 1.
    """
    value = config.options.get(option, otherwise)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{config.path}: {option}={value}: wanted a number from 0 to 1.")
    return float(value)


Choice = TypeVar("Choice", bound=str)


def some_of(choices: tuple[Choice, ...], option: str, config: SourceConfig) -> tuple[Choice, ...]:
    """An option that lists some of several choices; all of them if it is not given.

    Raises:
        ConfigError: it lists none, or others.
    """
    chosen = tuple(config.options.get(option, choices))
    if not chosen or set(chosen) - set(choices):
        raise ConfigError(
            f"{config.path}: {option}={', '.join(chosen)}: wanted some of {', '.join(choices)}."
        )
    return chosen
