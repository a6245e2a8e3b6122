"""All of `janusflow tune`: the pictures, what preserves the model, the run, and the page."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import janusflow
from janusflow.cli.tune_page.page import Tuned, build_page
from janusflow.cli.tune_page.trial import TrialPlan, plan_trial, try_out
from janusflow.config.files import replace_text
from janusflow.config.learning.log import SampleQuestion
from janusflow.data.picture_folder import QUESTIONS, Asked, read_folder
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.previews import draw_and_answer
from janusflow.inference.tuning_data import Prior, captioned, write_data
from janusflow.training.recipes import run_recipes
from janusflow.tuning.recipe import TuneSettings, settings_for, write_recipe

PAGE, DATA, ADAPTER = "index.html", "data", "adapter"
NUM_SAMPLES = 4
"""Prompts that are drawn on the way: of what is learnt, and of what is kept."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for."""

    folder: Path
    prompt: str | None
    class_prompts: tuple[str, ...]
    class_questions: tuple[str, ...]
    num_class_images: int
    model: str
    run: Path
    settings: Mapping[str, Any]
    """Of TuneSettings; None is unsaid."""


def tune(request: Request, *, tell: Callable[[str], None], progress: bool = False) -> Tuned:
    """Train an adapter on a folder of pictures, and leave the page.

    Args:
        request: what is asked for.
        tell: is given a line where something begins or was decided.
        progress: show bars on stderr.

    Raises:
        DataError: the folder is not one of pictures.
    """
    start = time.perf_counter()
    pictures, asked = read_folder(request.folder)
    jf = janusflow.load(request.model)
    captions = captioned(jf, pictures, prompt=request.prompt)
    told_by = _told_by(request, [each.caption for each in pictures])
    if pictures:
        tell(f"{len(pictures)} pictures, {told_by}: {', '.join(dict.fromkeys(captions.values()))}")
    if asked:
        tell(f"{len(asked)} conversations of {request.folder / QUESTIONS}")
    prior = prior_of(jf, request)
    tell(f"Its own drawings of {len(prior)} prompts are learnt beside them." if prior else NO_PRIOR)
    data = write_data(
        jf,
        captions,
        prior,
        request.run / DATA,
        questions=(request.folder / QUESTIONS).resolve() if asked else None,
        progress=progress,
    )
    settings = settings_of(jf, request)
    plan = plan_trial(jf, captions, asked, request.class_prompts)
    recipe = write_recipe(settings, data, *samples_of(plan, asked))
    tell("Drawing and asking before ...")
    before = try_out(jf, plan, progress=progress)
    del jf
    run_recipes(recipe, sampler=draw_and_answer)
    adapter = request.run / ADAPTER
    tell("Drawing and asking after ...")
    tuned_model = janusflow.load(request.model, adapter=adapter)
    after = try_out(tuned_model, plan, before=before, progress=progress)
    tuned = Tuned(
        model=request.model,
        run=request.run,
        adapter=adapter,
        recipe=recipe,
        page=request.run / PAGE,
        captions=captions,
        told_by=told_by,
        num_asked=len(asked),
        num_prior=len(prior),
        plan=plan,
        before=before,
        after=after,
        steps=settings.steps,
        seconds=time.perf_counter() - start,
    )
    replace_text(tuned.page, build_page(tuned))
    return tuned


NO_PRIOR = (
    "Nothing is learnt beside them: name what the model shall go on drawing with --class-prompt, "
    "or it may forget it."
)


def samples_of(plan: TrialPlan, asked: Sequence[Asked]) -> tuple[list[str], list[SampleQuestion]]:
    """Prompts and questions that show on the way what is learnt and what is kept."""
    prompts = [*plan.own[: NUM_SAMPLES // 2], *plan.kept[: NUM_SAMPLES // 2]]
    some = asked[:NUM_SAMPLES]
    return prompts, [SampleQuestion(image=q.path, question=q.question) for q in some]


def settings_of(jf: JanusFlow, request: Request) -> TuneSettings:
    """What was said, and for the rest what fits the model's size."""
    num_parameters = sum(weight.numel() for weight in jf.model.parameters())
    said = {name: value for name, value in request.settings.items() if value is not None}
    named = {"model": request.model, "run": request.run}
    return TuneSettings(**named | settings_for(num_parameters) | said)


def prior_of(jf: JanusFlow, request: Request) -> list[Prior]:
    """What the model draws and answers: class prompts and what it is known to know, by turns."""
    number, asked = request.num_class_images, request.class_questions
    named = [Prior(prompt) for prompt in request.class_prompts]
    known = [] if jf.knowledge is None else jf.knowledge.prompts(number, seed=0)
    sources = [cycle(each) for each in (named, [Prior(*each) for each in known]) if each]
    prior = islice(chain.from_iterable(zip(*sources, strict=True)), number)
    if not asked:
        return [*prior]
    questions = cycle(asked)
    return [each._replace(questions=(*each.questions, next(questions))) for each in prior]


def _told_by(request: Request, captions: list[str | None]) -> str:
    """Where the captions come from, in words."""
    if None not in captions:
        return "each with its .txt"
    rest = "one prompt" if request.prompt else "captions by the model itself"
    return rest if set(captions) == {None} else f".txt files and {rest}"
