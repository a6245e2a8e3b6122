"""Functions that settings name, as `module:function`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from janusflow.config.errors import ConfigError


def load_function(spec: str, *, option: str) -> Callable[..., Any]:
    """Import `module:function`; modules are looked for in the working folder too.

    Args:
        spec: what was given.
        option: the option or setting that gave it, for messages.

    Raises:
        ConfigError: there is no such module or function.
    """
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{option} {spec}: {error}. Name one as module:function.") from None
    finally:
        sys.path.pop(0)
