"""The tasks by name, and which options each of them takes.

Nothing heavy is imported here: the command line reads this to show its help.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from janusflow.config.errors import ConfigError


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
    data: Path | None = None
    pictures: Path | None = None
    answers: Path | None = None
    judge: str | None = None
    drawn: Path | None = None
    features: str | None = None
    features_sha256: str | None = None
    resolution: int | None = None
    clip: str | None = None

    def path(self, name: Literal["data", "pictures", "answers"]) -> Path:
        """A path that the task cannot do without.

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


PICTURE_SETS = ("data", "pictures", "drawn", "features", "features_sha256", "resolution", "clip")

TASKS: dict[str, TaskEntry] = {
    "shapes": TaskEntry(
        "scenes:shapes",
        "ShapesEval: six categories of drawings, and questions about held-out scenes",
        ("categories", "languages"),
    ),
    "easy-vqa": TaskEntry(
        "scenes:easy_vqa", "that data set's test split (fetched on first use)", ("data",)
    ),
    "emoji-naming": TaskEntry(
        "emoji:emoji_naming", "names of emoji in learnt and other styles", ("data",)
    ),
    "emoji-drawing": TaskEntry(
        "emoji:emoji_drawing", "drawings of emoji, and what the VAE leaves of them", ("data",)
    ),
    "vqav2": TaskEntry(
        "open_questions:vqav2", "VQAv2's questions", ("data", "answers", "pictures")
    ),
    "textvqa": TaskEntry("open_questions:textvqa", "TextVQA's questions", ("data", "pictures")),
    "gqa": TaskEntry("open_questions:gqa", "GQA's questions", ("data", "pictures")),
    "chartqa": TaskEntry("open_questions:chartqa", "ChartQA's questions", ("data", "pictures")),
    "pope": TaskEntry("yes_no:pope", "POPE's splits", ("data", "pictures")),
    "mme": TaskEntry("yes_no:mme", "MME's subtasks", ("data", "pictures")),
    "mmbench": TaskEntry("choices:mmbench", "MMBench's table", ("data",)),
    "seed": TaskEntry(
        "choices:seed", "SEED-Bench's questions about pictures", ("data", "pictures")
    ),
    "mmmu": TaskEntry("mmmu:mmmu", "MMMU's validation questions", ("data",)),
    "mmvet": TaskEntry(
        "mmvet:mmvet", "MM-Vet's questions, for GPT-4 to grade", ("data", "pictures", "judge")
    ),
    "geneval": TaskEntry("geneval:geneval", "GenEval's prompts, drawn", ("data", "judge")),
    "dpg": TaskEntry("dpg:dpg", "DPG-Bench's prompts, drawn", ("data", "judge")),
    "dsg": TaskEntry("dsg:dsg", "DSG-1k's prompts, drawn", ("data", "judge")),
    "mjhq": TaskEntry("picture_sets:mjhq", "MJHQ-30K's prompts, drawn: FID", PICTURE_SETS),
    "fid": TaskEntry("picture_sets:fid", "pictures against any folder of them", PICTURE_SETS),
}

ALWAYS_TAKEN = ("model", "limit", "seed")


def open_task(name: str, options: TaskOptions) -> Any:
    """Make a task.

    Raises:
        ConfigError: it lacks an option, or is given one it has no use for.
        DataError: its file is not as its format has it.
    """
    entry = TASKS[name]
    for option in fields(options):
        given = getattr(options, option.name)
        if option.name in (*ALWAYS_TAKEN, *entry.takes):
            continue
        if given != option.default:
            takes = ", ".join(map(_option, entry.takes))
            raise ConfigError(
                f"{name} has no use for {_option(option.name)} {given}: it takes {takes or 'none'}."
            )
    module, function = entry.home.split(":")
    return getattr(import_module(f"janusflow.evaluation.{module}"), function)(options)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
