"""The recipe by which `janusflow tune` trains: a stage with an adapter, as a file to edit.

Rates, ranks and steps are those of diffusers' DreamBooth scripts and ai-toolkit for large models;
for models of `mini`'s size those that were measured on `mini` (docs/new-skills.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from janusflow.config.files import replace_text
from janusflow.config.learning.log import SampleQuestion
from janusflow.config.learning.tuning import TuneConfig

SMALL = 100_000_000
"""Models of fewer parameters are small."""
FILE = "tune.yaml"
WARMUP_STEPS = 10
"""Whatever `steps` is, so that a finished run may be given more of them."""
DRAWING = {"understanding": 20, "generation": 60, "text": 20}
"""Parts of a step's samples where pictures are learnt."""
ASKING = {"understanding": 45, "generation": 35, "text": 20}
"""And where there are questions about them."""
HEADER = "# Written by `janusflow tune`. Edit it, then: janusflow train {file} run=FOLDER\n"


class DataFiles(NamedTuple):
    """What there is to learn from, each in the layout that its section of the recipe says."""

    own: Path | None = None
    """Captions of the pictures: to draw them, and to name them."""
    questions: Path | None = None
    """Conversations about pictures beside it."""
    prior: Path | None = None
    """Captions of the model's own drawings, as it drew them."""
    prior_answers: Path | None = None
    """Conversations: its own answers about these drawings."""
    own_plans: Path | None = None
    """Of a model that plans: conversations without images, what is new as it is asked for."""
    prior_plans: Path | None = None
    """And its own plans of its drawings."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What a person may say; defaults that depend on the model are in `settings_for`."""

    model: str
    run: Path
    steps: int
    learning_rate: float
    batch_size: int
    method: str = "lora"
    rank: int = 16
    on: tuple[str, ...] = TuneConfig.on
    """What is adapted: names of janusflow/tuning/targets.py."""
    prior_weight: float = 1.0
    """Share of the model's own drawings, against 1 of the pictures."""
    seed: int = 0
    samples_every: int = 50
    row_tokens: int = 4096
    time_mean: float = 0.0
    time_std: float = 1.0


def settings_for(num_parameters: int) -> dict[str, Any]:
    """Defaults of settings that depend on a model's size."""
    if num_parameters < SMALL:
        return {
            "steps": 450,
            "learning_rate": 3e-3,
            "on": (*TuneConfig.on, "llm.head"),  # words that it never wrote are in its plans
            "batch_size": 16,
            "row_tokens": 416,
            "prior_weight": 2.0,
            "time_mean": -0.8,  # small latents: noise hides them less
            "time_std": 1.4,
        }
    return {"steps": 500, "learning_rate": 1e-4, "batch_size": 4}


def write_recipe(
    settings: TuneSettings,
    data: DataFiles,
    prompts: Sequence[str],
    questions: Sequence[SampleQuestion] = (),
) -> Path:
    """Write the recipe into the run folder, and give its file.

    Args:
        settings: of the training.
        data: what is learnt from.
        prompts: drawn on the way, image i always from seed i.
        questions: asked on the way.
    """
    file = settings.run / FILE
    settings.run.mkdir(parents=True, exist_ok=True)
    tree = recipe_tree(settings, data, prompts, questions)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    replace_text(file, HEADER.format(file=file) + text)
    return file


def recipe_tree(
    settings: TuneSettings,
    data: DataFiles,
    prompts: Sequence[str],
    questions: Sequence[SampleQuestion] = (),
) -> dict[str, Any]:
    """A StageRecipe's settings, without those that stay as they are by default."""
    prior = settings.prior_weight
    asked, answered = _chats(data.questions, 1.0), _chats(data.prior_answers, prior)
    kinds = {
        "understanding": [*_captions(data.own, 1.0), *asked, *answered],
        "generation": [*_captions(data.own, 1.0), *_captions(data.prior, prior)],
        "text": [*_chats(data.own_plans, prior), *_chats(data.prior_plans, prior)],
    }
    shares = ASKING if data.questions else DRAWING
    return {
        "task": "stage",
        "run": str(settings.run),
        "start": settings.model,
        **({"new": {"plans": True}} if kinds["text"] else {}),
        "tune": {"method": settings.method, "rank": settings.rank, "on": list(settings.on)},
        "data": {"crops": 1} | {kind: sources for kind, sources in kinds.items() if sources},
        "mixture": {
            "batch_size": settings.batch_size,
            "row_tokens": settings.row_tokens,
            "ratios": [{kind: shares[kind] if kinds[kind] else 0 for kind in shares}],
        },
        "objective": {
            "alignment": "none",
            "time_mean": settings.time_mean,
            "time_std": settings.time_std,
        },
        "loop": {
            "steps": settings.steps,
            "seed": settings.seed,
            "save_every": settings.samples_every,
            "optimizer": {
                "learning_rate": settings.learning_rate,
                "warmup_steps": WARMUP_STEPS,
            },
        },
        "log": {
            "samples_every": settings.samples_every,
            "prompts": list(prompts),
            "questions": [{"image": str(q.image), "question": q.question} for q in questions],
        },
    }


def _captions(path: Path | None, weight: float) -> list[dict[str, Any]]:
    return [] if path is None else [{"format": "captions", "path": str(path)} | _share(weight)]


def _chats(path: Path | None, weight: float) -> list[dict[str, Any]]:
    return [] if path is None else [{"format": "chat", "path": str(path)} | _share(weight)]


def _share(weight: float) -> dict[str, float]:
    return {} if weight == 1.0 else {"weight": weight}
