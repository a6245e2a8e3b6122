"""The tasks by name, and which options each of them takes.

Nothing heavy is imported here: the command line reads this to show its help.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from janusflow.config.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What a person may say about a task; None is unsaid."""

    model: Callable[[], Any]
    """Loads the model that is measured, once."""
    limit: int | None = None
    """Items of each kind; None is all, or the task's own default."""
    seed: int = 2024
    categories: str | None = None
    """Of ShapesEval, with commas between; None is all."""
    languages: str | None = None
    variety: int | None = None
    """Drawings of each of the prompts whose variety ShapesEval measures; None is its default."""
    data: Path | None = None
    images: Path | None = None
    judge: str | None = None
    features: str | None = None
    features_sha256: str | None = None
    resolution: int | None = None

    def needed(self, name: Literal["data", "images", "features"]) -> Any:
        """An option that the task cannot do without.

        Raises:
            ConfigError: it was not said.
        """
        given = getattr(self, name)
        if given is None:
            raise ConfigError(f"got no --{name}: this task needs it, see docs/evaluation.md.")
        return given


class TaskEntry(NamedTuple):
    """Where a task is, and what it takes."""

    home: str
    """Module and function that make it."""
    summary: str
    takes: tuple[str, ...] = ()
    """Options beside model, limit and seed."""


IMAGE_SETS = ("data", "images", "features", "features_sha256", "resolution")

TASKS: dict[str, TaskEntry] = {
    "shapes": TaskEntry(
        "shapes.task:shapes",
        "ShapesEval: six categories of drawings, and questions about held-out scenes",
        ("categories", "languages", "variety"),
    ),
    "easy-vqa": TaskEntry(
        "shapes.task:easy_vqa", "that data set's test split (fetched on first use)", ("data",)
    ),
    "geneval": TaskEntry("drawing.geneval:geneval", "GenEval's prompts, drawn", ("data", "judge")),
    "dpg": TaskEntry("drawing.propositions:dpg", "DPG-Bench's prompts, drawn", ("data", "judge")),
    "dsg": TaskEntry("drawing.propositions:dsg", "DSG-1k's prompts, drawn", ("data", "judge")),
    "mjhq": TaskEntry("drawing.image_sets:mjhq", "MJHQ-30K's prompts, drawn: FID", IMAGE_SETS),
    "fid": TaskEntry("drawing.image_sets:fid", "images against any folder of them", IMAGE_SETS),
}

LMMS_TASKS = {
    "chartqa": "chartqa",
    "gqa": "gqa",
    "mmbench": "mmbench_en_dev",
    "mme": "mme",
    "mmmu": "mmmu_val",
    "mmvet": "mmvet",
    "pope": "pope_random",
    "seed": "seedbench",
    "textvqa": "textvqa_val",
    "vqav2": "vqav2_val",
}
"""Benchmarks of understanding, and the task by which lmms-eval measures each."""
LMMS_COMMAND = "python -m lmms_eval --model janusflow --model_args pretrained=MODEL --tasks {}"

ALWAYS_TAKEN = ("model", "limit", "seed")


def find_task(name: str) -> TaskEntry:
    """A task that is ours to measure.

    Raises:
        ConfigError: lmms-eval measures it.
    """
    if name in LMMS_TASKS:
        raise ConfigError(
            f"{name} is measured by lmms-eval, see docs/evaluation.md: "
            f"{LMMS_COMMAND.format(LMMS_TASKS[name])}"
        )
    return TASKS[name]


def open_task(name: str, options: TaskOptions) -> Any:
    """Make a task, its judge included: it takes its place on the device that is current.

    Raises:
        ConfigError: it lacks an option, or is given one it has no use for.
        DataError: its file is not as its format has it, or holds nothing.
    """
    entry = find_task(name)
    for option in fields(options):
        given = getattr(options, option.name)
        if given != option.default and option.name not in (*ALWAYS_TAKEN, *entry.takes):
            takes = ", ".join(map(_option, entry.takes))
            raise ConfigError(
                f"{name} has no use for {_option(option.name)} {given}: it takes {takes or 'none'}."
            )
    module, function = entry.home.split(":")
    task = getattr(import_module(f"janusflow.evaluation.{module}"), function)(options)
    if not task.items:
        raise DataError(f"{name}: got no items from {options.data}. Name the benchmark's own file.")
    return task


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
