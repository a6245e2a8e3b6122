"""What a model draws and says, always of the same prompts, seeds and images: before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from janusflow.data.picture_folder import Asked
from janusflow.data.sources.formats import CAPTION_QUESTION
from janusflow.evaluation.shapes.quick import quick_scores
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.tuning_data import answers

NUM_OWN, NUM_KEPT, NUM_SHOWN = 4, 6, 4
KEPT_SEED = 10_000
"""First seed and scenes of what is only kept: no drawing that is learnt has them."""
NUM_JUDGED = 8
"""Drawings a category of ShapesEval, where the model knows shapes."""
JUDGED_STEPS = 10
"""Which draw its shapes as well as thirty (docs/mini.md)."""
DESCRIBE = "Describe the picture."


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """What is drawn and asked, before and after alike."""

    own: Sequence[str]
    """Prompts of what is learnt; image i has seed i."""
    kept: Sequence[str]
    """Prompts of what was known before."""
    asked: Sequence[Asked]
    """Questions that are learnt; of pictures with captions, what they are called."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it, in the order of the plan."""

    own: list[Image.Image]
    kept: list[Image.Image]
    answers: list[str]
    """To what was learnt."""
    descriptions: list[str]
    """Of drawings from before, given to both."""
    shares: Mapping[str, float]
    """Right drawings and answers by kind, of NUM_JUDGED each; nothing where no judge is."""


def plan_trial(
    jf: JanusFlow,
    captions: Mapping[Path, str],
    asked: Sequence[Asked],
    class_prompts: Sequence[str],
) -> TrialPlan:
    """Choose prompts: the captions by turns, and others of what the model knows."""
    named = [Asked(path, CAPTION_QUESTION, words) for path, words in captions.items()]
    said = list(dict.fromkeys(captions.values()))
    known = list(class_prompts)
    if not known and jf.knowledge is not None:
        known = [prompt for prompt, _ in jf.knowledge.prompts(NUM_KEPT, seed=KEPT_SEED)]
    return TrialPlan(
        own=[said[index % len(said)] for index in range(NUM_OWN)] if said else [],
        kept=[known[index % len(known)] for index in range(NUM_KEPT)] if known else [],
        asked=[*named[:NUM_SHOWN], *asked[:NUM_SHOWN]],
    )


def try_out(
    jf: JanusFlow, plan: TrialPlan, *, before: Trial | None = None, progress: bool = False
) -> Trial:
    """Draw and ask; with `before`, about the drawings of then."""
    prompts = [*plan.own, *plan.kept]
    seeds = [*range(len(plan.own)), *(KEPT_SEED + index for index in range(len(plan.kept)))]
    drawn = jf.generate(prompts, seed=seeds, progress=progress) if prompts else []
    own, kept = drawn[: len(plan.own)], drawn[len(plan.own) :]
    shown = kept if before is None else before.kept
    said = answers(jf, [each.path for each in plan.asked], [each.question for each in plan.asked])
    told = answers(jf, shown, [DESCRIBE] * len(shown))
    shares = {}
    if jf.knowledge is not None:
        shares = quick_scores(jf, NUM_JUDGED, seed=KEPT_SEED, steps=JUDGED_STEPS)
    return Trial(own=own, kept=kept, answers=said, descriptions=told, shares=shares)
