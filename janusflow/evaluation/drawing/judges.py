"""Who judges drawings: a benchmark's official models, or whatever a person plugs in."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.tasks import ToDraw, first_of_each
from janusflow.inference.functions import load_function

OFFICIAL = "official"
IMAGES_PER_PROMPT = 4


def own_device() -> torch.device:
    """This process's GPU with its number, for packages whose "cuda" is the first one; or the CPU.

    It is that of `torch.cuda.set_device`, so judges are made after it.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def drawings_of(
    prompts: Sequence[tuple[str, str, dict[str, Any]]],
    options: TaskOptions,
    *,
    name: str = "{prompt:05d}-{sample}",
) -> list[ToDraw]:
    """Four images of every prompt (kind, words, facts); a limit counts prompts of a kind."""
    items = [
        ToDraw(
            id=name.format(prompt=index, sample=sample),
            kind=kind,
            prompt=prompt,
            seed=options.seed + IMAGES_PER_PROMPT * index + sample,
            facts=facts,
        )
        for index, (kind, prompt, facts) in enumerate(prompts)
        for sample in range(IMAGES_PER_PROMPT)
    ]
    return first_of_each(items, options.limit and IMAGES_PER_PROMPT * options.limit)


def load_judge(spec: str | None, official: Callable[[], Any]) -> Any:
    """Make the judge that `--judge` names.

    Raises:
        ConfigError: there is no such module or function, or what the official one needs is missing.
    """
    if spec in (None, OFFICIAL):
        return official()
    return load_function(spec, option="--judge")()


def require_package(name: str, *, what: str) -> Any:
    """Import a package that this project does not bring.

    Raises:
        ConfigError: it is not there.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs {name}, which cannot be imported ({error}): install it, or plug in "
            "another with --judge module:function."
        ) from None
