"""transformers' Auto classes find a JanusFlow: our folders and the release's.

Nothing is imported for it: the names of our classes are added to transformers' tables when it loads
these, at once where it has, and the classes are imported when somebody asks for them.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

CONFIG, MODEL = "JanusFlowConfig", "JanusFlowForConditionalGeneration"
PROCESSOR, IMAGE_PROCESSOR = "JanusFlowProcessor", "JanusFlowImageProcessor"
TOKENIZER = "JanusFlowTokenizer"
RELEASE_NAMES = {"VLChatProcessor": PROCESSOR, "VLMImageProcessor": IMAGE_PROCESSOR}
"""What the release's files call its classes, and ours that do the same."""

OURS, RELEASE = "janusflow", "multi_modality"
"""Values of model_type."""
# By our configuration's class transformers finds the last of its types: ours.
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "configuration_auto": {"CONFIG_MAPPING_NAMES": {RELEASE: CONFIG, OURS: CONFIG}},
    "modeling_auto": {
        "MODEL_MAPPING_NAMES": {OURS: MODEL},
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES": {OURS: MODEL},
        "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES": {OURS: MODEL},
    },
    "processing_auto": {
        "PROCESSOR_MAPPING_NAMES": {RELEASE: "VLChatProcessor", OURS: PROCESSOR}
    },
    "tokenization_auto": {
        "TOKENIZER_MAPPING_NAMES": {OURS: TOKENIZER},
        # A set: the class that the release's tokenizer_config.json names reads digits otherwise.
        "MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS": {OURS: TOKENIZER},
    },
    "image_processing_auto": {
        "IMAGE_PROCESSOR_MAPPING_NAMES": {
            RELEASE: {"pil": "VLMImageProcessor"},
            OURS: {"pil": IMAGE_PROCESSOR},
        }
    },
}  # fmt: skip
PACKAGE = "transformers.models"


class AutoModulesFinder(MetaPathFinder):
    """Adds our names to those of transformers' modules that hold the tables, once they are run."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        """The ordinary spec of one of these modules, None for every other."""
        name = fullname.removeprefix(f"{PACKAGE}.auto.")
        if name == fullname or name not in TABLES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        return spec if spec is None or spec.loader is None else _followed(spec, name)


def _followed(spec: ModuleSpec, name: str) -> ModuleSpec:
    loader: Any = spec.loader
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        add_names(name, module)

    loader.exec_module = exec_module
    return spec


def add_names(name: str, module: ModuleType) -> None:
    """Add our names to the tables of one of transformers' modules, and to what is made of them."""
    for table, names in TABLES[name].items():
        getattr(module, table, {}).update(names)
    for mapping in vars(module).values():
        if hasattr(mapping, "_reverse_config_mapping"):
            mapping._reverse_config_mapping[CONFIG] = OURS


def register() -> None:
    """From now on the Auto classes find us; calling it again changes nothing."""
    package = sys.modules["janusflow"]
    for model_type in (OURS, RELEASE):
        # Where transformers looks for the classes of a model_type.
        sys.modules.setdefault(f"{PACKAGE}.{model_type}", package)
    if not any(isinstance(finder, AutoModulesFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AutoModulesFinder())
    for name in TABLES:
        module = sys.modules.get(f"{PACKAGE}.auto.{name}")
        if module is not None:
            add_names(name, module)
