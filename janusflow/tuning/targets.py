"""Which layers an adapter changes, by plain names."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from torch import nn

from janusflow.config.errors import ConfigError

_TOWER = r"understanding_encoder\.(?!head\.).*"
TARGETS: dict[str, str] = {
    "llm": r"llm\..*\.\d+\..*",
    "llm.attention": r"llm\..*\.\d+\.\w*att\w*\..*",
    "llm.mlp": r"llm\..*\.\d+\.\w*mlp\w*\..*",
    "llm.head": r"llm\.(?!.*\.\d+\.).*",
    "generation": r"generation_.*",
    "generation_encoder": r"(generation|latent)_encoder\..*",
    "generation_decoder": r"generation_decoder\..*",
    "aligners": r".*_aligner",
    "understanding": rf"understanding_aligner|latent_encoder\..*|{_TOWER}",
    "understanding_encoder": _TOWER,
    "repa_head": r"repa_head\..*",
}
"""Plain name -> pattern of whole module paths; linear layers and convolutions among them are meant.

`llm` is the LLM's blocks and `llm.head` what turns its output into tokens; `generation` and
`understanding` are a half's encoder, decoder and aligners. The tower's pooling head never runs.
"""
DEPTHWISE = (
    "peft cannot adapt a depthwise convolution (a change of it would be larger than itself): name "
    "its part in `trainable` to train it in full, or leave it out"
)
_INSIDE_ADAPTER = re.compile(r"\.(lora_\w+|modules_to_save)(\.|$)")


def target_modules(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Paths of the layers that are named, in the model's order.

    Args:
        model: the whole model; adapters it has already are looked through.
        names: of TARGETS, or paths of modules, which stand for all that is inside them.

    Raises:
        ConfigError: a name is unknown, or names no layer that peft can adapt.
    """
    layers = dict(_layers(model))
    named = {name: [path for path in layers if _is_named(name, path)] for name in names}
    adaptable = {path for path, layer in layers.items() if is_adaptable(layer)}
    for name, paths in named.items():
        if adaptable.isdisjoint(paths):
            why = f"{DEPTHWISE}." if paths else f"wanted {', '.join(TARGETS)}, or a module's path."
            what = "no layer to adapt" if paths else "no layer of this model"
            raise ConfigError(f"tune.on: {name!r} names {what}: {why}")
    wanted = adaptable.intersection(chain.from_iterable(named.values()))
    return [path for path in layers if path in wanted]


def is_adaptable(layer: nn.Module) -> bool:
    """Whether peft's LoRA can change a layer."""
    return not isinstance(layer, nn.Conv2d) or layer.groups == 1


def _is_named(name: str, path: str) -> bool:
    pattern = TARGETS.get(name, rf"{re.escape(name)}(\..*)?")
    return re.fullmatch(pattern, path) is not None


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linear layers and convolutions by the paths they have in the model without adapters."""
    for path, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not _INSIDE_ADAPTER.search(path):
            yield path.replace(".base_layer", "").replace(".original_module", ""), module
