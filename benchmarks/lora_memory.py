"""Peak memory of steps that learn LoRA at the release's shapes, by the process's resident memory.

Run: python benchmarks/lora_memory.py [--base fp32|bf16] [--rank 16] [--tokens 64]
Random weights in the release's shapes (nothing is downloaded), stage 3's recipe with `tune` instead
of whole parts, activation checkpointing, micro-batches of one sample: an image to draw whose
latents are cached, then one to understand whose features are. AdamW and the average are float32.
By the second step the optimizer has its state.
"""

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.recipes import StageRecipe
from janusflow.data.batches.collate import TrainBatch
from janusflow.interop.load import complete, place
from janusflow.training.engine.loop import start, train_step
from janusflow.training.estimate.simulation import Simulation
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.recipes import read_stage
from janusflow.training.stage.build_model import DTYPES

RECIPE = Path(__file__).parents[1] / "recipes" / "janusflow-1.3b" / "stage3.yaml"
KIB, GIB = 1024, 1024**3
WEIGHT_SCALE = 0.02


def tuned_recipe(*, base: str, rank: int) -> StageRecipe:
    """Stage 3 with an adapter, on a CPU."""
    changes = ("trainable=[]", f"tune.rank={rank}", f"tune.base_precision={base}")
    cpu = ("loop.parallelism.precision=fp32", "loop.parallelism.activation_checkpointing=true")
    return read_stage(
        RECIPE, (*changes, *cpu, "objective.alignment=none", "data.cache=unused", "data.crops=1")
    )


def materialise(model: nn.Module, recipe: StageRecipe) -> None:
    """Give a model on the meta device random weights, one at a time."""
    assert recipe.tune is not None
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    noise = torch.randn(2**20) * WEIGHT_SCALE
    for name, parameter in list(model.named_parameters()):
        dtype = torch.float32 if name in trained else DTYPES[recipe.tune.base_precision]
        flat = torch.empty(parameter.numel(), dtype=dtype)
        for chunk in flat.split(len(noise)):
            chunk.copy_(noise[: len(chunk)])
        place(model, name, flat.view(parameter.shape))
    complete(model, "cpu")  # pyright: ignore[reportArgumentType]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def filled(batch: TrainBatch) -> TrainBatch:
    """A batch of shapes with random images and latents."""

    def noise(value: Tensor | None) -> Tensor | None:
        return None if value is None else torch.randn(value.shape)

    drawings = batch.drawings
    if drawings is not None:
        drawings = replace(
            drawings,
            pixel_values=noise(drawings.pixel_values),
            latents=noise(drawings.latents),
            features=noise(drawings.features),
        )
    return replace(
        batch,
        pixel_values=noise(batch.pixel_values),
        features=noise(batch.features),
        drawings=drawings,
    )


def peak_bytes() -> int:
    """The most that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def main() -> None:
    """Two steps, and what they took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", choices=list(DTYPES), default="fp32")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64, help="of a prompt, and of an answer")
    arguments = parser.parse_args()
    recipe = tuned_recipe(base=arguments.base, rank=arguments.rank)
    lengths = DryRunConfig(
        gpus=1, prompt_tokens=arguments.tokens, answer_tokens=arguments.tokens, text_tokens=1
    )
    sizes = sizes_of(recipe)
    simulation = Simulation(recipe, sizes, lengths)
    batches = [
        filled(simulation.collate.pack([simulation.samples[kind]]))
        for kind in ("generation", "understanding")
    ]
    del simulation
    materialise(sizes.model, recipe)
    built = peak_bytes()
    objective = JanusFlowObjective(sizes.model, recipe.objective)
    state = start(objective, recipe.loop, run=Path("unused"))
    report: dict[str, float | str | int] = {"base": arguments.base, "rank": arguments.rank}
    for step in (1, 2):
        began = time.perf_counter()
        train_step(state, batches, recipe.loop)
        report[f"seconds_step_{step}"] = round(time.perf_counter() - began, 1)
    parameters = list(sizes.model.parameters())
    print(
        json.dumps(
            report
            | {
                "parameters": sum(p.numel() for p in parameters),
                "trainable": sum(p.numel() for p in parameters if p.requires_grad),
                "built_gib": round(built / GIB, 2),
                "peak_gib": round(peak_bytes() / GIB, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
