"""The part of ComfyUI's interface that our nodes use, with its names and its checks.

Written after ComfyUI 0.7.0 (`comfy_api/latest/_io.py`), which is on no package registry. A keyword
that the true interface does not have is refused here as well.
"""

import inspect
import sys
from collections import Counter
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

INPUT = {"id", "display_name", "optional", "tooltip", "lazy", "extra_dict", "raw_link"}
WIDGET = INPUT | {"default", "socketless", "force_input"}
NUMBER = WIDGET | {"min", "max", "step", "display_mode"}
KEYWORDS = {
    "IMAGE": INPUT,
    "MASK": INPUT,
    "LATENT": INPUT,
    "VAE": INPUT,
    "INT": NUMBER | {"control_after_generate"},
    "FLOAT": NUMBER | {"round"},
    "STRING": WIDGET | {"multiline", "placeholder", "dynamic_prompts"},
    "COMBO": WIDGET - {"force_input"} | {"options", "control_after_generate", "upload"},
}


class Input:
    """An input of a type, with its settings."""

    io_type: str

    def __init__(self, id: str, **settings: Any) -> None:
        unknown = settings.keys() - KEYWORDS.get(self.io_type, INPUT)
        assert not unknown, f"{self.io_type} knows no {unknown}"
        self.id, self.settings = id, settings
        self.optional = settings.get("optional", False)


class Output:
    """An output of a type."""

    io_type: str

    def __init__(
        self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None
    ) -> None:
        self.id, self.display_name, self.tooltip = id, display_name, tooltip


def of_type(io_type: str) -> Any:
    """What `io.Image`, `io.Custom("...")` and the like are: a holder of Input and Output."""
    kinds = {
        each.__name__: type(each.__name__, (each,), {"io_type": io_type})
        for each in (Input, Output)
    }
    return SimpleNamespace(io_type=io_type, **kinds)


@dataclass(kw_only=True)
class Schema:
    """What a node is."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False

    def validate(self) -> None:
        """Refuse names that occur twice."""
        for ends in (self.inputs, self.outputs):
            names = Counter(each.id for each in ends if each.id is not None)
            assert all(count == 1 for count in names.values()), names


class NodeOutput:
    """What a node gives."""

    def __init__(self, *args: Any, ui: Any = None, expand: Any = None) -> None:
        self.args, self.ui, self.expand = args, ui, expand

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None


class ComfyNode:
    """Base of nodes: all class methods, for nodes hold no state."""

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802 (ComfyUI's name)
        schema = cls.define_schema()  # pyright: ignore[reportAttributeAccessIssue]
        schema.validate()
        return schema

    @classmethod
    def EXECUTE_NORMALIZED(cls, **inputs: Any) -> NodeOutput:  # noqa: N802
        given = cls.execute(**inputs)  # pyright: ignore[reportAttributeAccessIssue]
        assert isinstance(given, NodeOutput)
        assert len(given.args) == len(cls.GET_SCHEMA().outputs)
        return given


class ComfyExtension:
    """Base of what `comfy_entrypoint` returns."""

    async def on_load(self) -> None: ...


class ComfyAPISync:
    """Calls of the running ComfyUI; told progress is kept."""

    told: ClassVar[list[tuple[float, float]]] = []

    def __init__(self) -> None:
        self.execution = self

    def set_progress(self, value: float, max_value: float, node_id: str | None = None) -> None:
        self.told.append((value, max_value))


class Interrupted(BaseException):
    """What ComfyUI raises when a person stops a run."""

    is_wanted: ClassVar[bool] = False


def throw_exception_if_processing_interrupted() -> None:
    """End the run if a person wants it."""
    if Interrupted.is_wanted:
        raise Interrupted


def install() -> None:
    """Make `comfy_api.latest` and `comfy.model_management` importable."""
    management = ModuleType("comfy.model_management")
    vars(management)[throw_exception_if_processing_interrupted.__name__] = (
        throw_exception_if_processing_interrupted
    )
    sys.modules |= {"comfy": ModuleType("comfy"), "comfy.model_management": management}
    types = {name.title(): of_type(name) for name in KEYWORDS}
    io = SimpleNamespace(
        **types,
        Custom=of_type,
        Input=Input,
        Schema=Schema,
        NodeOutput=NodeOutput,
        ComfyNode=ComfyNode,
    )
    latest = ModuleType("comfy_api.latest")
    vars(latest).update(io=io, ComfyExtension=ComfyExtension, ComfyAPISync=ComfyAPISync)
    package = ModuleType("comfy_api")
    package.latest = latest  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules |= {"comfy_api": package, "comfy_api.latest": latest}


def inputs_of(node: Any) -> tuple[dict[str, Any], set[str]]:
    """A node's inputs with their defaults (None is none), and those that it must be given."""
    inputs = node.GET_SCHEMA().inputs
    defaults = {each.id: each.settings.get("default") for each in inputs}
    return defaults, {each.id for each in inputs if not each.optional}


def arguments_of(node: Any) -> tuple[set[str], set[str], bool]:
    """All arguments of `execute`, those without a default, and whether it takes any other."""
    parameters = inspect.signature(node.execute).parameters.values()
    named = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
    needed = {each.name for each in named if each.default is each.empty}
    return {each.name for each in named}, needed, len(named) < len(parameters)
