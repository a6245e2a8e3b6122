"""Model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B): the share of the peak used.

Counted are matrix products, convolutions and attention of everything that runs: LLM, towers, VAE,
forward and backward; of blocks that are run again, the first run alone. They are linear in what
a step's tally counts, so a few small batches on the meta device tell those of any step.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from janusflow.config.gpus import gpu_of_device
from janusflow.config.recipes import StageRecipe
from janusflow.config.training import Precision
from janusflow.costs.meter import counting
from janusflow.data.collate import Collator, TrainBatch
from janusflow.data.mixture import KINDS, Kind
from janusflow.data.samples import TextSample
from janusflow.data.sources import BadRows, WeightedSource, build_sample
from janusflow.interop.load import on_meta
from janusflow.model.configuration import JanusFlowConfig
from janusflow.training.engine.distributed import num_processes
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.scoring import load_scorer
from janusflow.training.stage.freezing import train_only

TERA = 10**12
COUNTS = ("positions", "pairs", "logits", "understanding_images", "generation_images")
"""What of a tally decides how many operations a step takes."""
TEXT_WORDS = (8, 64)
"""Words of texts that tell positions and logits from pictures."""

Utilisation = Callable[[Mapping[str, int], float], float]
"""Tally of some steps and the seconds they took -> the share of all devices' peak (MFU)."""


def utilisation_of(
    flops: Callable[[Mapping[str, int]], float], *, peak_tflops: float
) -> Utilisation:
    """MFU of steps whose FLOPs follow from their tally, on devices of this many TFLOP/s each."""

    def share(tally: Mapping[str, int], seconds: float) -> float:
        return flops(tally) / (seconds * peak_tflops * TERA * num_processes())

    return share


def device_tflops(precision: Precision) -> float | None:
    """What this process's GPU can do at best, if it is one that config/gpus.py knows."""
    if not torch.cuda.is_available():
        return None
    gpu = gpu_of_device(torch.cuda.get_device_name())
    return None if gpu is None else gpu.flops(precision) / TERA


def flops_by_tally(
    objective: JanusFlowObjective, batches: Sequence[TrainBatch]
) -> Callable[[Mapping[str, int]], float]:
    """Operations of any steps by their tally, from those of some batches without memory."""
    counted = np.array([_counts(objective.tally(batch)) for batch in batches], dtype=np.float64)
    flops = np.array([batch_flops(objective, batch) for batch in batches], dtype=np.float64)
    unit = np.maximum(counted.max(0), 1)
    each, *_ = np.linalg.lstsq(counted / unit, flops, rcond=None)
    return lambda tally: float(np.array(_counts(tally)) / unit @ each)


def batch_flops(objective: JanusFlowObjective, batch: TrainBatch) -> int:
    """Operations of learning a batch, forward and backward; the objective is without memory."""
    with counting() as meter:
        torch.stack(list(objective(_without_pixels(batch)).values())).sum().backward()
    objective.zero_grad()
    return meter.flops


def objective_without_memory(
    recipe: StageRecipe, config: JanusFlowConfig, vae: AutoencoderKL
) -> JanusFlowObjective:
    """What a stage minimises, on the meta device."""
    model = on_meta(copy.deepcopy(config))
    train_only(model, recipe.trainable)
    with torch.device("meta"):
        vae = AutoencoderKL(**{n: v for n, v in vae.config.items() if not n.startswith("_")})
    scorer = load_scorer(recipe.objective, model)
    scorer = None if scorer is None else scorer.to("meta")
    return JanusFlowObjective(model, recipe.objective, vae=vae, scorer=scorer)


def small_batches(
    recipe: StageRecipe, sources: Mapping[Kind, Sequence[WeightedSource]], collate: Collator
) -> list[TrainBatch]:
    """A sample of every kind the recipe mixes, and the same with one more of each, and of texts.

    The rows of the last one are no longer than the longest sample, so that some are padded.
    """
    ratios = recipe.mixture.ratios
    kinds: list[Kind] = [kind for kind in KINDS if any(getattr(r, kind) for r in ratios)]
    seed, bad = recipe.loop.seed, BadRows(max_share=1.0)
    first, second = (
        [
            build_sample(
                sources[kind],
                ordinal,
                seed=seed,
                rng=np.random.default_rng((seed, ordinal)),
                build=collate.build,
                bad=bad,
            )
            for kind in kinds
        ]
        for ordinal in range(2)
    )
    texts = [collate.build(TextSample(text="a " * number)) for number in TEXT_WORDS]
    longest = max(len(row) for _, row in (*first, *texts))
    apart = Collator(collate.tokenizer, collate.config, row_tokens=longest)
    more = [collate.pack([*first, added]) for added in (*second, *texts)]
    return [collate.pack(first), *more, apart.pack([*first, *texts])]


def _counts(tally: Mapping[str, int]) -> list[int]:
    return [tally[name] for name in COUNTS]


def _without_pixels(value: Any) -> Any:
    """A batch whose pictures are shapes alone; tokens and masks, which decide shapes, stay."""
    if isinstance(value, Tensor):
        return value.to("meta") if value.is_floating_point() else value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _without_pixels(getattr(value, f.name)) for f in fields(value)}
        )
    return value
