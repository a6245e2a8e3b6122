"""JanusFlow: one model that sees and draws.

    jf = janusflow.load("mini")
    jf.generate("a red circle left of a blue square")[0].save("out.png")
    jf.ask("out.png", "What is left of the square?")

Importing this is quick: PyTorch comes with the first use of a name that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from janusflow.inference.loading import load
    from janusflow.inference.pipeline import JanusFlow
    from janusflow.model.configuration import JanusFlowConfig
    from janusflow.model.modeling import JanusFlowForConditionalGeneration
    from janusflow.processing.processor import JanusFlowProcessor

__version__ = "0.1.0"

__all__ = [
    "JanusFlow",
    "JanusFlowConfig",
    "JanusFlowForConditionalGeneration",
    "JanusFlowProcessor",
    "__version__",
    "load",
    "register_auto_classes",
]

_HOMES = {
    "JanusFlow": "janusflow.inference.pipeline",
    "JanusFlowConfig": "janusflow.model.configuration",
    "JanusFlowForConditionalGeneration": "janusflow.model.modeling",
    "JanusFlowProcessor": "janusflow.processing.processor",
    "load": "janusflow.inference.loading",
}


def register_auto_classes() -> None:
    """Let transformers' AutoConfig, AutoModel and AutoProcessor find model_type "janusflow"."""
    from transformers import AutoProcessor

    # The model's module registers itself and its configuration.
    from janusflow.model.modeling import JanusFlowForConditionalGeneration
    from janusflow.processing.processor import JanusFlowProcessor

    config = JanusFlowForConditionalGeneration.config_class
    AutoProcessor.register(config, JanusFlowProcessor, exist_ok=True)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'janusflow' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    # Kept, so that the next use is a plain look-up.
    globals()[name] = value
    return value
