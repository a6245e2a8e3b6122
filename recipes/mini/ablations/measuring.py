"""What a checkpoint can do, on fresh scenes of the recipe's own world: the same for every arm."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

import janusflow
from janusflow.config.errors import ConfigError
from janusflow.config.files import replace_text
from janusflow.config.recipes import StageRecipe
from janusflow.data.batches.collate import Collator
from janusflow.data.samples import GenerationSample, Sample, Turn, UnderstandingSample
from janusflow.evaluation.core.runner import run_task
from janusflow.evaluation.core.scores import shares
from janusflow.evaluation.core.tasks import Task, ToDraw
from janusflow.evaluation.shapes.prompts import ShapePrompt
from janusflow.evaluation.shapes.task import asked, judge_answer
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.language.captions import caption
from janusflow.mini.language.questions import Kind, Question, ask_all
from janusflow.mini.language.words import LANGUAGES
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import SHAPES, Scene, sample_scene
from janusflow.mini.training.sources import pixel_values
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.stage.export import export_checkpoint

FOLDER = "measured"
BATCH = 32
ANSWER_TOKENS = 24
"""A place in Korean fits; untrained models do not find an end."""
DRAWN = {"objects": "drawn", "colours": "drawn colours", "shapes": "drawn shapes"}
FIRST_SEED = 2411_07975
"""Of fresh scenes: training counts its own from other numbers."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """How much is asked of a checkpoint; it decides what there is to draw and to answer."""

    items: int = 100
    """Scenes: for losses, images and questions alike."""
    steps: int = 15
    """Euler steps of a drawing."""
    guidance: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Item:
    """A fresh scene with a prompt and questions of the kinds that are learnt."""

    scene: Scene
    image: Any
    prompt: str
    questions: tuple[Question, ...]


def measure_run(run: Path, recipe: StageRecipe, exam: Exam) -> dict[int, dict[str, float]]:
    """Measure all checkpoints of a finished run by step, those measured before only read.

    Raises:
        ConfigError: one was measured by another exam.
    """
    found = {}
    for checkpoint in checkpoints(run):
        step, file = int(checkpoint.name), run / FOLDER / f"{checkpoint.name}.json"
        if not file.exists():
            kept = {"exam": asdict(exam), "values": measure(checkpoint, recipe, exam)}
            file.parent.mkdir(exist_ok=True)
            replace_text(file, json.dumps(kept, indent=2) + "\n")
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["exam"] != asdict(exam):
            raise ConfigError(
                f"{file} was measured with {kept['exam']}, now wanted {asdict(exam)}: delete "
                f"{file.parent}, or measure as before."
            )
        found[step] = kept["values"]
    return found


def measure(checkpoint: Path, recipe: StageRecipe, exam: Exam) -> dict[str, float]:
    """Losses, and shares of images and answers that are right, of the averaged weights.

    flow: L_RF; words: how much more it is with prompts hidden; answers: L_AR, nats a token; drawn,
    drawn colours, drawn shapes: by the detector; answered. A task that the recipe does not train
    is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        export_checkpoint(checkpoint, Path(folder) / "model")
        jf = janusflow.load(Path(folder) / "model")
    items = fresh_items(exam.items, recipe, size=jf.image_size)
    ratio, values = recipe.mixture.ratios[0], {}
    if ratio.generation:
        samples = [to_draw(item, number) for number, item in enumerate(items)]
        hidden = held_out_losses(jf, recipe, samples, drop_prompt=1.0)["flow_mse"]
        values["flow"] = held_out_losses(jf, recipe, samples, drop_prompt=0.0)["flow_mse"]
        values["words"] = hidden - values["flow"]
        values |= right(jf, drawings(items), exam)
    if ratio.understanding:
        samples = [to_answer(item) for item in items]
        values["answers"] = held_out_losses(jf, recipe, samples, drop_prompt=0.0)["ce_answer"]
        values |= right(jf, answers(items), exam)
    return values


def fresh_items(num: int, recipe: StageRecipe, *, size: int) -> list[Item]:
    """Lone objects of the shapes that are drawn, asked about as in training, in both languages."""
    shapes = recipe.data.generation[0].options.get("shapes", SHAPES)
    wanted = recipe.data.understanding[0].options.get("kinds", get_args(Kind))
    items: list[Item] = []
    for number in range(num):
        rng = np.random.default_rng((FIRST_SEED, number))
        scene = sample_scene(rng, num_objects=1)
        while scene.objects[0].shape not in shapes:
            scene = sample_scene(rng, num_objects=1)
        language = LANGUAGES[number % len(LANGUAGES)]
        every = ask_all(scene, rng, language=language)
        items.append(
            Item(
                scene=scene,
                image=render(scene, size=size),
                prompt=caption(scene, rng, language=language),
                questions=tuple(each for each in every if each.kind in wanted),
            )
        )
    return items


def to_draw(item: Item, number: int) -> GenerationSample:
    """The scene as training would draw it; the number decides noise and time."""
    return GenerationSample(prompt=item.prompt, pixel_values=pixels(item), seed=number)


def to_answer(item: Item) -> UnderstandingSample:
    """The scene as training would ask about it."""
    turns = tuple(Turn(question=each.text, answer=each.answer) for each in item.questions)
    return UnderstandingSample(images=(pixels(item),), turns=turns, are_independent=True)


def pixels(item: Item) -> torch.Tensor:
    """The image in [-1, 1], [3, row, column]."""
    return pixel_values(np.asarray(item.image)[None])[0]


@torch.no_grad()
def held_out_losses(
    jf: JanusFlow, recipe: StageRecipe, samples: Sequence[Sample], *, drop_prompt: float
) -> dict[str, float]:
    """Mean losses as training has them; noise and times are the same for every model."""
    config = replace(recipe.objective, alignment="none", drop_prompt=drop_prompt)
    objective = JanusFlowObjective(jf.model, config, vae=jf.vae)
    tokenizer = jf.processor.tokenizer.backend_tokenizer
    collate = Collator(tokenizer, jf.model.config, row_tokens=recipe.mixture.row_tokens)
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for first in range(0, len(samples), BATCH):
        batch = collate(samples[first : first + BATCH])
        counts.update(objective.loss_counts(batch))
        sums.update({name: float(loss) for name, loss in objective(batch).items()})
    return {name: sums[name] / count for name, count in counts.items() if count}


def drawings(items: Sequence[Item]) -> Task:
    """Each scene from its prompt; right when the detector finds its object and no other."""
    prompts = {
        f"draw-{number}": ShapePrompt(category="single", scene=item.scene)
        for number, item in enumerate(items)
    }

    def judge(item: ToDraw, image: Any) -> dict[str, Any]:
        return prompts[item.id].judge(image)

    return Task(
        name="drawing",
        protocol="Fresh scenes of the world that is learnt.",
        settings={},
        items=[
            ToDraw(id=f"draw-{number}", kind="drawing", prompt=item.prompt, seed=number)
            for number, item in enumerate(items)
        ],
        judge=judge,
        score=lambda rows: shares(
            [(DRAWN[trait], is_so) for row in rows for trait, is_so in row["traits"].items()]
        )[:-1],
    )


def answers(items: Sequence[Item]) -> Task:
    """One question about each scene, of all kinds in turn."""
    return Task(
        name="answering",
        protocol="Fresh scenes of the world that is learnt.",
        settings={},
        items=[
            replace(
                asked(number, item.image, item.questions[number % len(item.questions)]),
                max_new_tokens=ANSWER_TOKENS,
            )
            for number, item in enumerate(items)
        ],
        judge=judge_answer,
        score=lambda rows: shares([("answered", row["right"]) for row in rows])[:1],
    )


def right(jf: JanusFlow, task: Task, exam: Exam) -> dict[str, float]:
    """Shares of a task's items that are right, by name."""
    drawing = DrawingSettings(steps=exam.steps, guidance=exam.guidance)
    report = run_task(task, jf, name=task.name, drawing=drawing)
    return {score.name: score.value for score in report.scores}
