"""From one process to many: sharding, precision and recomputation, by PyTorch's own FSDP2.

The model is written for one device; everything about several is here. Parameters are float32 where
they rest, and each process keeps and updates its shards of them, of their average and of the
optimizer's moments. A block's weights are gathered (in bfloat16, if the run says so) while it runs,
and its gradients are added up in float32.
"""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint, noop_context_fn

from janusflow.config.training import ParallelismConfig
from janusflow.training.engine.distributed import (
    all_reduce_sum,
    device,
    is_main_process,
    num_processes,
    require_group,
)
from janusflow.training.objectives.base import Objective

Contexts: TypeAlias = Callable[
    [], tuple[AbstractContextManager[Any, Any], AbstractContextManager[Any, Any]]
]


def parallelize(objective: Objective, config: ParallelismConfig) -> None:
    """Move an objective to this process's device, and share it out among the processes.

    Copies need no more, in float32 or on a CPU, where autocast computes in bfloat16:
    `all_reduce_gradients` sends their gradients in one message, which on two CPU processes takes
    less than FSDP's many (benchmarks/notes.md). Otherwise blocks (`objective.blocks()`) are
    gathered one by one; the rest of what trains stays gathered for the whole of a step, because a
    batch may have no use for it: its gradients are added up at the end of the backward pass,
    whatever each process's batch used.

    Raises:
        ConfigError: the processes cannot be shared out so.
    """
    objective.to(device())
    for block in objective.blocks():
        if config.compile:  # inside of what is run again: dynamo would skip a frame around it
            block.forward = torch.compile(block.forward)
        if config.activation_checkpointing:
            checkpoint_activations(block)
    is_half = config.precision == "bf16"
    is_copy = config.shard_size(num_processes()) == 1
    if is_copy and not is_half:
        return
    if is_copy and device().type == "cpu":
        objective.forward = torch.autocast("cpu", torch.bfloat16)(objective.forward)
        return
    require_group()
    # Batches stay float32: data - noise and the VAE need it, and the model casts for itself.
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if is_half else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    shard = partial(fully_shard, mesh=device_mesh(config), mp_policy=precision)
    for block in objective.blocks():
        shard(block)
    frozen = {parameter for module in objective.frozen() for parameter in module.parameters()}
    shard(objective, ignored_params=frozen)
    for module in objective.modules():
        if isinstance(module, FSDPModule):  # losses are means over all processes already
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def checkpoint_activations(block: nn.Module, *, contexts: Contexts = noop_context_fn) -> None:
    """Let a block keep its inputs alone, and run again for its gradients.

    Args:
        block: its forward is replaced.
        contexts: what it runs in at first, and again.
    """
    draws = any(isinstance(part, nn.Dropout) and part.training for part in block.modules())
    again = {"use_reentrant": False, "preserve_rng_state": draws, "context_fn": contexts}
    block.forward = partial(checkpoint, block.forward, **again)


def device_mesh(config: ParallelismConfig) -> DeviceMesh:
    """All processes, in groups that hold one copy between them.

    Raises:
        ConfigError: the groups would differ in size.
    """
    count = num_processes()
    shard = config.shard_size(count)
    kind = device().type
    if shard == count:
        return init_device_mesh(kind, (count,))
    shape, names = (count // shard, shard), ("replicate", "shard")
    return init_device_mesh(kind, shape, mesh_dim_names=names)


def to_device(value: Any, to: torch.device) -> Any:
    """A batch with every tensor in it on a device."""
    if isinstance(value, Tensor):
        return value.to(to, non_blocking=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **{n: to_device(v, to) for n, v in fields.items()})
    return value


@torch.no_grad()
def all_reduce_gradients(objective: Objective) -> None:
    """Replace the gradients of copies by their sums over the processes; FSDP has done so itself."""
    if num_processes() == 1 or isinstance(objective, FSDPModule):
        return
    trained = [p for p in objective.parameters() if p.requires_grad]
    flat = all_reduce_sum(torch.cat([cast(Tensor, p.grad).flatten() for p in trained]))
    for parameter, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter)


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor put together from its shards; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_state_dict(
    module: nn.Module, *, on_all: bool = False, share_frozen: bool = False
) -> dict[str, Tensor]:
    """A copy of a module's state dict on the CPU, every tensor whole; all processes must ask.

    Args:
        module: sharded or not.
        on_all: every process gets it, not only the first.
        share_frozen: what does not train is the module's own, where it is; it may only be read.
    """
    state = {}
    for name, value in module.state_dict(keep_vars=True).items():
        full = full_tensor(value.detach())
        if on_all or is_main_process():
            is_shared = share_frozen and not value.requires_grad
            state[name] = full if is_shared else full.to("cpu", copy=True)
    return state


def zero_loss_on_all_parameters(objective: Objective) -> Tensor:
    """Zero, with a gradient of zero for every parameter outside the blocks.

    Processes add up gradients only of what has one; a batch without images gives none to the
    parts that see and draw.
    """
    inside = {id(p) for block in objective.blocks() for p in block.parameters()}
    firsts = [
        cast(Tensor, p).flatten()[0]
        for p in objective.parameters()
        if p.requires_grad and id(p) not in inside
    ]
    if not firsts:
        return torch.zeros((), device=device())
    return 0.0 * torch.stack([first.float() for first in firsts]).sum()
