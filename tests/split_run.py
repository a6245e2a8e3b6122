"""A step of JanusFlow's training, split among processes and batches; its gradients go to a file.

Run: python tests/split_run.py SCENES OUT RANK NUM_PROCESSES NUM_PARTS
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_run import TinySources, make_collator, run_model
from torch import Tensor

from janusflow.config.training import MixtureConfig, ObjectiveConfig, Ratio
from janusflow.data.mixture import mixed_batches
from janusflow.training.loop import backward
from janusflow.training.objective import JanusFlowObjective
from janusflow.training.parts import PARTS, train_only
from janusflow.training.processes import own_parts, sum_gradients

MIXTURE = MixtureConfig(batch_size=12, ratios=(Ratio(understanding=1.0, generation=2.0, text=1.0),))


def step_of(sources: TinySources, *, num_parts: int) -> dict[str, Tensor]:
    """Gradients and losses of one step, by name."""
    model = run_model()
    train_only(model, list(PARTS))
    steps = mixed_batches(
        sources.by_kind,
        make_collator(model),
        MIXTURE,
        seed=0,
        step=5,
        own_parts=lambda items: own_parts(items, num_parts=num_parts),
    )
    objective = JanusFlowObjective(model, ObjectiveConfig())
    losses, tally = backward(objective, next(steps))
    assert tally["samples"] == MIXTURE.batch_size
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sum_gradients(list(trained.values()))
    gradients = {name: p.grad for name, p in trained.items() if p.grad is not None}
    # Padding depends on what shares a batch.
    counted = [number for name, number in tally.items() if name != "positions"]
    return gradients | losses | {"tally": torch.tensor(counted)}


def main() -> None:
    """Take part in a step as one of several processes."""
    scenes, out = Path(sys.argv[1]), Path(sys.argv[2])
    rank, num_processes, num_parts = map(int, sys.argv[3:])
    torch.set_num_threads(1)
    meeting = f"file://{out}.meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_processes)
    result = step_of(TinySources(scenes), num_parts=num_parts)
    if rank == 0:
        torch.save(result, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
