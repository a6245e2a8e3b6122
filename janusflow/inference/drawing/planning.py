"""Plan before drawing: the LLM says where everything is, and that is drawn instead of the prompt.

A prompt mostly leaves layout open. Decided while drawing, it must come out of noise in the few
steps in which every place may still take every object; decided in words, one token after the
other, it is settled before the first step. Works with models that have learnt to
(`JanusFlowConfig.plans`).
"""

from janusflow.config.errors import ConfigError
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.drawing.sampling import DrawingSettings

HOW = AnsweringSettings(max_new_tokens=160, temperature=0.5, top_p=0.7)
"""Drawn, so that seeds give layouts of their own, but from what is likely."""


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
