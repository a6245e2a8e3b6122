"""Weights in memory only while they are needed: one part of the model at a time, or one block.

Every weight has a placeholder, as large as itself and one number in memory. Before a block runs,
those that cannot stay beside it are dropped and its own are read: from the model's files, or for
CUDA from pinned memory. The results are the same to the bit. It is ours because accelerate's hooks
bring every layer by itself, and small pieces leave holes in memory (`Unit.load` has numbers).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from janusflow.config.errors import ConfigError
from janusflow.interop.load import complete, open_model, place
from janusflow.model.modeling import JanusFlowForConditionalGeneration

MODES = ("parts", "blocks")
ALIGNMENT = 64
"""Numbers. Where in memory a matrix begins may change the last bits of what is computed with it."""

Read = Callable[[Iterable[str]], Iterator[tuple[str, Tensor]]]
"""Weights by their names; they may be views of a file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Unit:
    """Weights that come and go together: those of one module."""

    name: str
    root: nn.Module
    module: nn.Module
    read: Read
    phases: frozenset[str]
    """What it is needed for; units that share a phase may stay beside each other."""
    tied: Mapping[str, str]
    """Under which name a weight is stored, where that is another one's."""

    @property
    def names(self) -> list[str]:
        """Of its weights, in the root module."""
        return [f"{self.name}.{leaf}" for leaf, _ in self.module.named_parameters()]

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Read the weights into memory of their own, all of it one piece.

        Weights of a few megabytes leave holes that the system's allocator keeps: with them the
        1.3B model took 3.6 GB where it takes 2.1 (benchmarks/memory_modes.py).
        """
        placed = {self.tied.get(name, name): name for name in self.names}
        sizes = [weight.numel() for weight in self.module.parameters()]
        room = torch.empty(sum(map(aligned, sizes)), device=device, dtype=dtype)
        start = 0
        for stored, tensor in self.read(placed):
            value = room[start : start + tensor.numel()].view(tensor.shape)
            # From pinned memory the copy need not be waited for.
            place(self.root, placed[stored], value.copy_(tensor, non_blocking=tensor.is_pinned()))
            start += aligned(tensor.numel())

    def drop(self) -> None:
        """Put placeholders where the weights were."""
        for name in self.names:
            weight = self.root.get_parameter(name)
            nothing = placeholder(weight, weight.device, weight.dtype)
            place(self.root, name, nothing)


class Offloading:
    """Loads the units of one or more models before they run, and drops the others.

    Args:
        mode: parts keeps all that shares a phase (seeing, words, drawing, images); blocks keeps
            one unit only.
        device: where they run.
    """

    def __init__(self, mode: str, *, device: torch.device) -> None:
        self.mode, self.device = mode, device
        self.loads: Counter[str] = Counter()
        """How often each unit was loaded, by its name."""
        self._present: list[Unit] = []

    def watch(
        self,
        root: nn.Module,
        modules: Mapping[str, nn.Module],
        read: Read,
        *,
        phases: Callable[[str, nn.Module], Iterable[str]],
        tied: Mapping[str, str] | None = None,
    ) -> None:
        """Take the weights out of these modules of a model, and bring them when one runs."""
        dtype = next(root.parameters()).dtype
        for name, module in modules.items():
            unit = Unit(
                name=name,
                root=root,
                module=module,
                read=read,
                phases=frozenset((name,) if self.mode == "blocks" else phases(name, module)),
                tied=tied or {},
            )
            unit.drop()
            module.register_forward_pre_hook(lambda *_, unit=unit: self._bring(unit, dtype))

    def _bring(self, unit: Unit, dtype: torch.dtype) -> None:
        if unit in self._present:
            return
        for other in self._present:
            if not other.phases & unit.phases:
                other.drop()
        self._present = [other for other in self._present if other.phases & unit.phases]
        unit.load(self.device, dtype)
        self._present.append(unit)
        self.loads[unit.name] += 1


def check_offload(mode: str, *, quantize: str | None, compile: bool) -> None:
    """Refuse modes there are not, and what cannot be had together with one."""
    if mode not in MODES:
        raise ConfigError(f"offload={mode!r}: use parts or blocks, or None to keep all in memory.")
    if quantize is not None:
        raise ConfigError(
            f"offload={mode!r} with quantize={quantize!r}: 8-bit weights are made once and stay "
            "in memory. Use one of the two."
        )
    if compile:
        raise ConfigError(
            f"offload={mode!r} with compile={compile}: compiled code keeps its weights. Use one "
            "of the two."
        )


def offloaded_model(
    folder: Path, offloading: Offloading, dtype: torch.dtype
) -> JanusFlowForConditionalGeneration:
    """The model of a folder, its weights brought as they are needed."""
    model, weights = open_model(folder)
    device = offloading.device
    read = weights.read if device.type != "cuda" else pinned(weights.read(weights.names), dtype)
    modules = dict(blocks_of(model))
    for name, weight in list(model.named_parameters()):
        place(model, name, placeholder(weight, device, dtype))
    complete(model, device)
    loose = [n for n in weights.names if not n.startswith(tuple(f"{path}." for path in modules))]
    for name, tensor in read(loose):
        place(model, name, tensor.to(device, dtype, copy=True))
    words = (model.llm.get_input_embeddings(), model.llm.get_output_embeddings())

    def phases(name: str, module: nn.Module) -> Iterable[str]:
        if module in words:
            return ("words",)
        if name.startswith("llm."):
            return ("words", "drawing")
        return ("drawing",) if name.startswith("generation_") else ("seeing",)

    offloading.watch(model, modules, read, phases=phases, tied=model.all_tied_weights_keys)
    return model


def offload_vae(
    vae: AutoencoderKL, offloading: Offloading, again: Callable[[], AutoencoderKL]
) -> None:
    """Bring a VAE's encoder and decoder as they are needed; `again` loads it another time."""

    def read_again(names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        weights = again().state_dict()
        return ((name, weights[name]) for name in names)

    root: Any = vae
    halves = {name: root.get_submodule(name) for name in ("encoder", "decoder")}
    read = read_again
    if offloading.device.type == "cuda":
        read = pinned(root.state_dict().items(), root.dtype)
    offloading.watch(root, halves, read, phases=lambda *_: ("images",))


def blocks_of(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that own weights or stand in a list: what is called as a whole."""
    for name, child in module.named_children():
        owns_weights = next(child.parameters(recurse=False), None) is not None
        if isinstance(module, nn.ModuleList) or owns_weights:
            yield f"{prefix}{name}", child
        else:
            yield from blocks_of(child, f"{prefix}{name}.")


def aligned(count: int) -> int:
    """Numbers after which the next weight may begin, as if it had been allocated by itself."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def placeholder(like: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of the same shape that takes the memory of one number: NaN, which nobody misses."""
    return torch.full((), torch.nan, device=device, dtype=dtype).expand(like.shape)


def pinned(weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> Read:
    """Hold weights in memory that a GPU copies from at full speed."""
    held = {name: tensor.to("cpu", dtype, copy=True).pin_memory() for name, tensor in weights}
    return lambda names: ((name, held[name]) for name in names)
