"""Plan before drawing: the LLM says where everything is, and that is drawn instead of the prompt.

A prompt mostly leaves layout open. Decided while drawing, it must come out of noise in the few
steps in which every place may still take every object; decided in words, one token after the
other, it is settled before the first step. Works with models that have learnt to
(`JanusFlowConfig.plans`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from janusflow.config.errors import ConfigError
from janusflow.inference.answering.chat import Message, question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.drawing.metadata import DrawingRecord
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.processing.templates import planning_question

HOW = AnsweringSettings(max_new_tokens=160, temperature=0.5, top_p=0.7)
"""Drawn, so that seeds give layouts of their own, but from what is likely."""

Answer = Callable[[list[list[Message]], AnsweringSettings, Sequence[int]], list[str]]
"""From conversations, settings and a seed for each to the answers."""


def plans_first(settings: DrawingSettings, *, has_learnt: bool, has_init_image: bool) -> bool:
    """Tell whether prompts are planned: what is there already needs no layout.

    Raises:
        ConfigError: it is asked for, and the model has not learnt to.
    """
    if settings.plan == "always" and not has_learnt:
        raise ConfigError(
            f"plan={settings.plan} with a model that has not learnt to plan (plans is false in its "
            "config.json). Use plan=auto, or train it (docs/training.md)."
        )
    return settings.plan == "always" or (
        settings.plan == "auto" and has_learnt and not has_init_image
    )


def with_plans(answer: Answer, records: Sequence[DrawingRecord]) -> list[DrawingRecord]:
    """Plan images side by side; a plan depends on its prompt and on the image's seed only."""
    conversations, seeds, planned = list[list[Message]](), list[int](), list[DrawingRecord]()
    for record in records:
        conversations.append(conversation(record.prompt))
        seeds.append(record.seed)
    for record, plan in zip(records, answer(conversations, HOW, seeds), strict=True):
        planned.append(planned_record(record, plan))
    return planned


def planned_record(record: DrawingRecord, plan: str) -> DrawingRecord:
    """The record with its plan, or with the prompt if that is empty and would draw anything."""
    return replace(record, plan=plan.strip() or record.prompt)


def conversation(prompt: str) -> list[Message]:
    """What the model is asked, as it was in training: no system prompt."""
    return [{"role": "system", "content": ""}, question_message([], planning_question(prompt))]
