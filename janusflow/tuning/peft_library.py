"""peft, asked for where an adapter is first needed, without its warnings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from janusflow.config.errors import ConfigError


def require_peft() -> None:
    """Ask for the library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"adapters need peft, which cannot be imported ({error}): pip install "
            "'janusflow[tune]'."
        ) from error


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without warnings of peft: what they warn of is checked here, and is an error if it is one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"peft\.")
        # Told in transformers' name: peft asks a model for a property that was renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield
