"""What a training step of `mini` costs beside forward and backward, and what packing saves.

Run: OMP_NUM_THREADS=2 python benchmarks/training_step.py [--steps 10] [--batch 32]

Stage 3's mixture of freshly rendered scenes with made-up latents, in one process. Every step is
done in each way in turn; printed are medians of seconds and of the ratios within a step.

bare      forward and backward of the packed rows, nothing else
step      as the loop does it: counts, clipping, guard, AdamW, average
data      the step, and drawing, tokenising and packing its samples before it
padded    forward and backward of the same samples, one to a row
rows      forward and backward with attention over whole rows instead of within samples
half      forward and backward with products in bfloat16 (loop.parallelism.precision=bf16)
both      the two together
compiled  the same in bfloat16 with the LLM's blocks compiled (loop.parallelism.compile=true)
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch

import janusflow
from janusflow.config.data import SourceConfig
from janusflow.config.training import LoopConfig, MixtureConfig, ObjectiveConfig, Ratio
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.batches.mixture import Kind, mixed_batches
from janusflow.data.sources.base import WeightedSource
from janusflow.mini.scenes.dataset import write_scenes
from janusflow.mini.training.sources import (
    SceneTexts,
    scene_drawings,
    scene_questions,
    unrendered,
)
from janusflow.model.packed_attention import SDPA_PACKED
from janusflow.model.rows import PAD_SEGMENT
from janusflow.training.engine.loop import start, train_step
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.stage.freezing import PARTS, train_only

T = TypeVar("T")

STAGE_3 = (Ratio(understanding=21.0, generation=70.0, text=9.0),)
NUM_SCENES = 400
WAYS = ("bare", "step", "data", "padded", "rows", "half", "both", "compiled")


def sources_in(folder: Path, latent_shape: tuple[int, ...]) -> dict[Kind, list[WeightedSource]]:
    """Render scenes, and make latents up: their values cost nothing."""
    write_scenes(folder, num_scenes=NUM_SCENES, size=64, seed=0)
    latents = np.random.default_rng(0).standard_normal((NUM_SCENES, *latent_shape))
    np.save(folder / "latents.npy", latents.astype(np.float16))
    plain = SourceConfig(format="scenes", path=str(folder))
    drawn = SourceConfig(
        format="scenes", path=str(folder), options={"latents": str(folder / "latents.npy")}
    )
    return {
        "understanding": scene_questions(plain),
        "generation": scene_drawings(drawn),
        "text": unrendered(SceneTexts, plain),
    }


def one_to_a_row(lengths: list[int], *, row_tokens: int) -> list[list[int]]:
    """No packing: every sample has a row, padded to the longest."""
    del row_tokens
    return [[number] for number in range(len(lengths))]


def timed(work: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """What a call returns, and the seconds it takes."""
    begin = time.perf_counter()
    result = work(*arguments)
    return result, time.perf_counter() - begin


def pass_both_ways(objective: JanusFlowObjective, batch: TrainBatch) -> None:
    """Forward and backward of a batch."""
    torch.stack(list(objective(batch).values())).sum().backward()


def with_whole_rows(objective: JanusFlowObjective, batch: TrainBatch) -> None:
    """The same by transformers' own attention, with a mask."""
    objective.model.llm.set_attn_implementation("sdpa")
    pass_both_ways(objective, batch)
    objective.model.llm.set_attn_implementation(SDPA_PACKED)


def in_half(work: Callable[..., None], *arguments: Any) -> None:
    """A call in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        work(*arguments)


def padding(batch: TrainBatch) -> float:
    """Share of a batch's positions that hold nothing."""
    return float((batch.rows.samples == PAD_SEGMENT).float().mean())


def main() -> None:
    """Time every way of every step, and print what they take and waste."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    jf = janusflow.load("mini", dtype="float32")
    model, flow = jf.model, jf.model.config.generation
    train_only(model, list(PARTS))
    objective = JanusFlowObjective(model, ObjectiveConfig())
    compiled = deepcopy(objective)
    for block in compiled.blocks():
        block.compile()
    mixture = MixtureConfig(batch_size=options.batch, row_tokens=416, ratios=STAGE_3)
    loop = LoopConfig(steps=10_000)
    tokenizer = jf.processor.tokenizer.backend_tokenizer
    took: dict[str, list[float]] = {name: [] for name in WAYS}
    waste: dict[str, list[float]] = {"packed": [], "padded": []}
    with tempfile.TemporaryDirectory() as folder:
        shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
        sources = sources_in(Path(folder) / "scenes", shape)
        state = start(objective, loop, run=Path(folder) / "run")
        collate = Collator(tokenizer, model.config, row_tokens=416)
        batches = {
            name: mixed_batches(sources, collate, mixture, seed=0, step=0)
            for name in ("packed", "padded")
        }
        for number in range(options.steps + 2):
            packed, data = timed(next, batches["packed"])
            with patch("janusflow.data.batches.collate.pack", one_to_a_row):
                padded = next(batches["padded"])
            times = {
                "bare": timed(pass_both_ways, objective, packed[0])[1],
                "padded": timed(pass_both_ways, objective, padded[0])[1],
                "rows": timed(with_whole_rows, objective, packed[0])[1],
                "half": timed(in_half, pass_both_ways, objective, packed[0])[1],
                "both": timed(in_half, with_whole_rows, objective, packed[0])[1],
                "compiled": timed(in_half, pass_both_ways, compiled, packed[0])[1],
            }
            state.optimizer.zero_grad(set_to_none=True)
            compiled.zero_grad(set_to_none=True)
            times["step"] = timed(train_step, state, packed, loop)[1]
            times["data"] = times["step"] + data
            for name in took if number > 1 else ():  # the first two warm up, and compile
                took[name].append(times[name])
            waste["packed"].append(padding(packed[0]))
            waste["padded"].append(padding(padded[0]))
    for name, values in took.items():
        ratios = [value / bare for value, bare in zip(values, took["bare"], strict=True)]
        print(f"{name:8} {statistics.median(values):.3f} s, x{statistics.median(ratios):.3f}")
    for name, found in waste.items():
        print(f"padding {name}: {100 * statistics.mean(found):.1f}%")


if __name__ == "__main__":
    main()
