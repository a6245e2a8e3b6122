"""The schedule's values at its corners, and what the optimizer holds."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from janusflow.config.errors import ConfigError
from janusflow.config.training import LoopConfig, OptimizerConfig, Precision
from janusflow.training.engine.optim import CombinedOptimizer, build_optimizer


def rates(num_steps: int, *, warmup_steps: int, decay_steps: int = 0) -> list[float]:
    config = OptimizerConfig(learning_rate=8.0, warmup_steps=warmup_steps, decay_steps=decay_steps)
    return [config.rate_at(step, num_steps) for step in range(num_steps)]


def test_warm_up_is_a_line_that_reaches_the_rate_at_its_last_step():
    assert rates(6, warmup_steps=4) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]


def test_without_warm_up_the_rate_is_constant():
    assert rates(3, warmup_steps=0) == [8.0] * 3


def test_decay_is_a_line_towards_zero_after_the_last_step():
    assert rates(6, warmup_steps=0, decay_steps=4) == [8.0, 8.0, 8.0, 6.0, 4.0, 2.0]


def test_where_warm_up_and_decay_overlap_the_lower_one_holds():
    assert rates(4, warmup_steps=4, decay_steps=4) == [2.0, 4.0, 4.0, 2.0]


def test_every_step_of_a_long_schedule_moves_evenly():
    values = rates(1000, warmup_steps=100, decay_steps=300)
    steps = [b - a for a, b in pairwise(values)]
    assert steps[:99] == pytest.approx([0.08] * 99)
    assert steps[99:699] == [0.0] * 600
    assert steps[700:] == pytest.approx([-8.0 / 300] * 299)
    assert min(values) > 0


@pytest.mark.parametrize(
    ("num_steps", "warmup"), [(4, 0), (20, 4), (10_000, 2000), (390_000, 2000)]
)
def test_a_warm_up_that_nobody_set_is_a_fifth_of_the_run_and_at_most_the_papers(
    num_steps: int, warmup: int
):
    config = OptimizerConfig(learning_rate=8.0)
    assert config.warmup(num_steps) == warmup
    assert config.rate_at(warmup, num_steps) == 8.0
    if warmup:
        assert config.rate_at(0, num_steps) == 8.0 / warmup


@pytest.mark.parametrize(
    ("num_steps", "warmup", "decay", "told"),
    [
        (1000, 100, 100, "0 to 8 in 100 steps, 8 to step 900, then to 0 at step 1,000"),
        (1000, 100, 0, "0 to 8 in 100 steps, 8 to step 1,000"),
        (1000, None, 0, "0 to 8 in 200 steps, 8 to step 1,000"),
        (1000, 0, 0, "8 to step 1,000"),
        (1000, 0, 1000, "8 to 0"),
        (20, 2000, 0, "0 to 0.08 in 20 steps"),
        (4, 4, 4, "0 to 4 in 2 steps, then to 0 at step 4"),
        (10, 4, 6, "0 to 8 in 4 steps, then to 0 at step 10"),
    ],
)
def test_the_schedule_is_told_in_words(num_steps: int, warmup: int | None, decay: int, told: str):
    config = OptimizerConfig(learning_rate=8.0, warmup_steps=warmup, decay_steps=decay)
    assert config.schedule(num_steps) == told


def test_a_run_that_ends_within_its_warm_up_is_warned_of_in_the_same_line():
    loop = LoopConfig(steps=20, optimizer=OptimizerConfig(warmup_steps=2000))
    assert loop.rates().startswith("learning rate 0 to 1e-06 in 20 steps; ")
    assert "warmup_steps=2000 is no less than loop.steps=20: the rate of 0.0001" in loop.rates()
    assert ";" not in LoopConfig(steps=20).rates()


def test_the_optimizer_holds_what_trains_and_nothing_else():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    config = OptimizerConfig(learning_rate=0.1, betas=(0.8, 0.9), weight_decay=0.2)
    (group,) = build_optimizer(layer, config).param_groups
    assert [id(p) for p in group["params"]] == [id(layer.weight)]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.8, 0.9), 0.2)


class Stack(nn.Module):
    """Repeated blocks between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(5, 4)
        self.trunk = nn.Module()
        self.trunk.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        for layer in self.trunk.layers:
            hidden = hidden + layer(hidden)
        return self.head(hidden)


def muon_step(stack: Stack, *, rate: float = 0.1, is_skipped: float = 0.0) -> dict[str, Tensor]:
    """What one step adds to each parameter."""
    before = {name: p.detach().clone() for name, p in stack.named_parameters()}
    optimizer = build_optimizer(stack, OptimizerConfig(muon=True, learning_rate=rate))
    assert isinstance(optimizer, CombinedOptimizer)
    stack(torch.arange(5)).square().sum().backward()
    optimizer.found_inf = torch.tensor(is_skipped)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in stack.named_parameters()}


def test_muon_moves_the_matrices_of_blocks_by_near_orthogonal_steps():
    """All singular values near 0.2 sqrt(4) rates, so that a step's mean square is AdamW's 0.2."""
    moved = muon_step(Stack())
    for name in ("trunk.layers.0.weight", "trunk.layers.1.weight"):
        strengths = torch.linalg.svdvals(moved[name]) / (0.1 * 0.2 * 4**0.5)
        assert strengths.min() > 0.5, name
        assert strengths.max() < 1.3, name


def test_beside_muon_everything_else_moves_as_adamw_moves_it():
    mixed, alone = Stack(), Stack()
    moved = muon_step(mixed)
    optimizer = build_optimizer(alone, OptimizerConfig(learning_rate=0.1))
    before = {name: p.detach().clone() for name, p in alone.named_parameters()}
    alone(torch.arange(5)).square().sum().backward()
    optimizer.step()
    others = {name for name in moved if not (name.startswith("trunk") and "weight" in name)}
    assert others == {
        "embedding.weight", "head.weight", "head.bias", "trunk.layers.0.bias", "trunk.layers.1.bias"
    }  # fmt: skip
    for name, parameter in alone.named_parameters():
        is_same = torch.equal(moved[name], parameter.detach() - before[name])
        assert is_same == (name in others), name


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_muon_computes_in_what_blocks_compute_in(precision: Precision, dtype: torch.dtype):
    optimizer = build_optimizer(Stack(), OptimizerConfig(muon=True), precision)
    assert [group["dtype"] for group in optimizer.param_groups if "dtype" in group] == [dtype]


def test_a_step_that_the_guard_skips_moves_nothing():
    assert all(not step.any() for step in muon_step(Stack(), is_skipped=1.0).values())


@pytest.fixture
def lone_process(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/met", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("lone_process")
def test_muon_refuses_matrices_that_are_sharded():
    stack = Stack()
    fully_shard(stack, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(ConfigError, match=r"loop\.optimizer\.muon=true, .* with sharded weights"):
        build_optimizer(stack, OptimizerConfig(muon=True))
