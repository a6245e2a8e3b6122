"""JanusFlow: one model that sees and draws.

    jf = janusflow.load("mini")
    jf.generate("a red circle left of a blue square")[0].save("out.png")
    jf.ask("out.png", "What is left of the square?")

Importing this is quick: PyTorch comes with the first use of a name that needs it. From then on
transformers' Auto classes know JanusFlow, in our layout and in the release's.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from janusflow.interop.auto_classes import RELEASE_NAMES
from janusflow.interop.auto_classes import register as register_auto_classes

if TYPE_CHECKING:
    from janusflow.inference.diffusers_pipeline import JanusFlowPipeline
    from janusflow.inference.loading import load
    from janusflow.inference.pipeline import JanusFlow
    from janusflow.model.configuration import JanusFlowConfig
    from janusflow.model.modeling import JanusFlowForConditionalGeneration
    from janusflow.processing.images import JanusFlowImageProcessor
    from janusflow.processing.processor import JanusFlowProcessor

__version__ = "0.1.0"

__all__ = [
    "JanusFlow",
    "JanusFlowConfig",
    "JanusFlowForConditionalGeneration",
    "JanusFlowImageProcessor",
    "JanusFlowPipeline",
    "JanusFlowProcessor",
    "__version__",
    "load",
]

_HOMES = {
    "JanusFlow": "janusflow.inference.pipeline",
    "JanusFlowConfig": "janusflow.model.configuration",
    "JanusFlowForConditionalGeneration": "janusflow.model.modeling",
    "JanusFlowImageProcessor": "janusflow.processing.images",
    "JanusFlowPipeline": "janusflow.inference.diffusers_pipeline",
    "JanusFlowProcessor": "janusflow.processing.processor",
    "JanusFlowTokenizer": "janusflow.processing.tokenizer",
    "load": "janusflow.inference.loading",
}


register_auto_classes()


def __getattr__(name: str) -> Any:
    home = _HOMES.get(RELEASE_NAMES.get(name, name))
    if home is None:
        raise AttributeError(f"module 'janusflow' has no attribute {name!r}")
    value = getattr(import_module(home), RELEASE_NAMES.get(name, name))
    # Kept, so that the next use is a plain look-up.
    globals()[name] = value
    return value
