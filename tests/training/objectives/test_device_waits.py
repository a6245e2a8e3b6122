"""How often a pass makes the host wait for the device, counted on the CPU."""

from collections import Counter
from typing import Any

import torch
from tiny_run import TinySources, draw, make_collator, run_model, run_vae
from torch.utils._python_dispatch import TorchDispatchMode

from janusflow.config.training import ObjectiveConfig
from janusflow.training.objectives.janusflow import JanusFlowObjective


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a GPU: values that it reads, and masks as indices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        is_index = name in ("index", "index_put", "index_put_")
        is_masked = is_index and any(i is not None and i.dtype == torch.bool for i in args[1])
        if is_masked or name in ("_local_scalar_dense", "nonzero", "masked_select"):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_forward_pass_waits_for_the_device_once_and_backward_never(sources: TinySources):
    """For the number of image positions in the tokens, which it checks. Twelve times before."""
    model = run_model()
    batch = make_collator(model)(draw(sources, "understanding", "generation", "text"))
    objective = JanusFlowObjective(model, ObjectiveConfig(), vae=run_vae())
    model.llm.set_attn_implementation("sdpa")  # what runs on a GPU: whole rows
    with Waits() as waits:
        total = torch.stack(list(objective(batch).values())).sum()
        assert waits.found == {"_local_scalar_dense": 1}
        total.backward()
    assert waits.found.total() == 1
