"""Experiment trackers: TensorBoard, Weights & Biases and Trackio get what the log gets.

Each is a package of its own that is imported only if a recipe asks for it (`log.to`).
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.config.learning.log import ReportConfig, TrackerName
from janusflow.training.engine.distributed import is_main_process

TENSORBOARD = "tensorboard"
WANDB_ID = "wandb-id"


@runtime_checkable
class Tracker(Protocol):
    """Takes numbers and images as a run goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a log line."""
        ...

    def show(self, step: int, name: str, image: Image.Image, *, caption: str) -> None:
        """Take an image and what is to be read under it."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir RUN/tensorboard`."""

    def __init__(self, run: Path) -> None:
        self._module = _imported("tensorboard", "torch.utils.tensorboard")
        self._folder = run / TENSORBOARD
        self._writer: Any = None

    def _at(self, step: int) -> Any:
        """The writer. A resumed run's first step says from where on old events are stale."""
        if self._writer is None:
            self._writer = self._module.SummaryWriter(str(self._folder), purge_step=step)
        return self._writer

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to every curve."""
        writer = self._at(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def show(self, step: int, name: str, image: Image.Image, *, caption: str) -> None:
        """Add an image, and its caption as a text."""
        writer = self._at(step)
        writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")
        writer.add_text(name, caption, step)
        writer.flush()

    def close(self) -> None:
        """Close the event file, if one was begun."""
        if self._writer is not None:
            self._writer.close()


class Wandb:
    """Weights & Biases, or Trackio, which takes the same calls."""

    def __init__(self, package: TrackerName, **settings: Any) -> None:
        self._module = _imported(package, package)
        self._module.init(**settings)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers."""
        self._module.log(dict(values), step=step)

    def show(self, step: int, name: str, image: Image.Image, *, caption: str) -> None:
        """Send an image."""
        self._module.log({name: self._module.Image(image, caption=caption)}, step=step)

    def close(self) -> None:
        """End the run over there."""
        self._module.finish()


@contextmanager
def open_trackers(
    config: ReportConfig, run: Path, settings: Mapping[str, Any]
) -> Iterator[Sequence[Tracker]]:
    """The trackers a recipe asks for, in the first process, closed after the block.

    Args:
        config: which, and in which project.
        run: folder of the run; its name is the run's name over there.
        settings: the recipe, to be kept beside the curves.

    Raises:
        ConfigError: a tracker's package is not installed.
    """
    with ExitStack() as stack:
        trackers: list[Tracker] = []
        for name in config.to if is_main_process() else ():
            trackers.append(_opened(name, config, run, dict(settings)))
            stack.callback(trackers[-1].close)
        yield trackers


def _opened(
    name: TrackerName, config: ReportConfig, run: Path, settings: dict[str, Any]
) -> Tracker:
    common = {"project": config.project, "name": run.name, "config": settings, "resume": "allow"}
    match name:
        case "tensorboard":
            return TensorBoard(run)
        case "wandb":
            return Wandb(name, id=_kept_id(run), dir=str(run), **common)
        case "trackio":
            return Wandb(name, **common)


def _kept_id(run: Path) -> str:
    """The run's id in wandb, the same after a restart."""
    path = run / WANDB_ID
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(4), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _imported(extra: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"log.to: {extra} is not installed: pip install 'janusflow[{extra}]', or leave it out."
        ) from error
