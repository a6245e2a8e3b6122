"""Who judges drawings: a benchmark's official models, or whatever a person plugs in."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.reading import identity
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.tasks import ToDraw, first_of_each

OFFICIAL = "official"
IMAGES_PER_PROMPT = 4


class Detection(NamedTuple):
    """An object that was found."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""
    score: float
    mask: Bool[np.ndarray, "h w"] | None = None


@runtime_checkable
class ObjectJudge(Protocol):
    """Finds objects by COCO's names, and says which colours they have: what GenEval asks."""

    def detect(self, image: Image.Image) -> Mapping[str, Sequence[Detection]]:
        """Everything that may be an object, by name, with its score."""
        ...

    def colours(self, image: Image.Image, objects: Sequence[Detection], name: str) -> Sequence[str]:
        """One colour for each of some objects of a name."""
        ...


def own_device() -> torch.device:
    """This process's GPU with its number, for packages whose "cuda" is the first one; or the CPU.

    It is that of `torch.cuda.set_device`, so judges are made after it.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def settings_of(options: TaskOptions) -> dict[str, Any]:
    """What decides a judged benchmark's items and verdicts: its file, its judge, the first seed."""
    judge = options.judge or OFFICIAL
    return {**identity(options.path("data")), "judge": judge, "seed": options.seed}


def drawings_of(
    prompts: Sequence[tuple[str, str, dict[str, Any]]], options: TaskOptions
) -> list[ToDraw]:
    """Four images of every prompt, each from noise of its own; a limit counts prompts of a kind.

    Args:
        prompts: kind, words and facts of each.
        options: the first seed, and the limit.
    """
    items = [
        ToDraw(
            id=f"{index:05d}-{sample}",
            kind=kind,
            prompt=prompt,
            seed=options.seed + IMAGES_PER_PROMPT * index + sample,
            facts=facts,
        )
        for index, (kind, prompt, facts) in enumerate(prompts)
        for sample in range(IMAGES_PER_PROMPT)
    ]
    return first_of_each(items, options.limit and IMAGES_PER_PROMPT * options.limit)


def load_judge(spec: str | None, official: Callable[[str], Any]) -> Any:
    """Make the judge that `--judge` names.

    Args:
        spec: `official`, `official:FOLDER`, or `module:function` of a function that makes one.
            None is official.
        official: makes the benchmark's own judge from FOLDER, or from "".

    Raises:
        ConfigError: there is no such module or function, or what the official one needs is missing.
    """
    module, _, name = (spec or OFFICIAL).partition(":")
    if module == OFFICIAL:
        return official(name)
    return load_function(f"{module}:{name or 'judge'}", option="--judge")()


def load_function(spec: str, *, option: str) -> Callable[[], Any]:
    """Import `module:function`; modules are looked for in the working folder too.

    Raises:
        ConfigError: there is no such module or function.
    """
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{option} {spec}: {error}. Name module:function, a function that makes it."
        ) from None
    finally:
        sys.path.pop(0)


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
