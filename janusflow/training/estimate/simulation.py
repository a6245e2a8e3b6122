"""A stage's batches run through its objective on the meta device: what that takes is counted."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.costs.meta import FusedAttention
from janusflow.costs.meter import counting
from janusflow.data.collate import IGNORE_INDEX, TrainBatch
from janusflow.data.mixture import KINDS, SampleSlot, plan
from janusflow.data.samples import UnderstandingSample
from janusflow.model.rows import PAD_SEGMENT
from janusflow.training.engine.optim import NEEDS_WHOLE, muon_matrices
from janusflow.training.engine.parallelize import recompute
from janusflow.training.estimate.sizes import Sizes
from janusflow.training.estimate.typical import Typical
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.scoring import TowerScorer, load_scorer

FP32_BYTES = 4
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ADAM_MOMENTS = 2
GATHERED_BLOCKS = 2
"""Blocks that FSDP holds whole at a time: the one that computes and the next."""


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """What a step holds, all processes together."""

    samples: dict[str, int]
    """By kind."""
    tokens: dict[str, int]
    """By kind, without padding."""
    rows: int
    padding: float
    """Share of the rows' positions."""
    learnt_tokens: int
    understanding_images: int
    generation_images: int


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps of one mixture."""

    steps: int
    size: StepSize
    forward_flops: dict[str, int]
    """Of a step, by what runs."""
    backward_flops: int
    """Of a step, blocks that are run again included."""

    @property
    def step_flops(self) -> int:
        """Operations of a step, all processes together."""
        return sum(self.forward_flops.values()) + self.backward_flops


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one GPU when it needs most."""

    weights: int
    working_copy: int
    """Weights and gradients as computing takes them, beside those that are kept."""
    gradients: int
    optimizer: int
    average: int
    batch: int
    """Pixels and tokens of all of a step's batches, which are made before the first is learnt."""
    activations: int
    """What forward and backward hold beside the gradients, when all of it together is largest."""
    activations_otherwise: int
    """The same, were recomputation the other way."""

    @property
    def total(self) -> int:
        """All of it at once."""
        state = self.weights + self.working_copy + self.gradients + self.optimizer + self.average
        return state + self.batch + self.activations


class Alike(NamedTuple):
    """Batches of the same kinds: one of them, and how many there are."""

    batch: TrainBatch
    number: int


class Counted(NamedTuple):
    """What one batch takes, forward by part."""

    forward: Counter[str]
    backward: int
    activation_bytes: int


class Simulation:
    """Runs a recipe's batches through its objective on the meta device."""

    def __init__(
        self, recipe: StageRecipe, sizes: Sizes, typical: Typical, config: DryRunConfig
    ) -> None:
        self.recipe, self.typical, self.config = recipe, typical, config
        self.model, self.vae = sizes.model, sizes.vae
        nn.Module.to(self.model, DTYPES[config.precision])
        if recipe.objective.scorer is not None:
            raise ConfigError(
                f"a dry run does not load objective.scorer={recipe.objective.scorer}: leave it "
                "out, and the model's own tower stands for it."
            )
        self.objective = JanusFlowObjective(
            self.model,
            recipe.objective,
            vae=self.vae,
            scorer=load_scorer(recipe.objective, self.model),
        )
        self._largest: tuple[int, TrainBatch] | None = None

    def phase(self, begin: int, *, steps: int) -> Phase:
        """Count a step of the mixture in force from step `begin` on."""
        planned = plan(self.recipe.mixture, begin)
        alike = self._batches(planned)
        forward: Counter[str] = Counter()
        backward = 0
        for batch, number in alike:
            counted = self.run(batch, recomputes=self.config.recompute)
            for name, flops in counted.forward.items():
                forward[name] += number * flops
            backward += number * counted.backward
            if self._largest is None or counted.activation_bytes > self._largest[0]:
                self._largest = counted.activation_bytes, batch
        return Phase(
            steps=steps,
            size=self._size(planned, alike),
            forward_flops=dict(forward),
            backward_flops=backward,
        )

    def _batches(self, planned: Sequence[SampleSlot]) -> list[Alike]:
        """All processes' batches of a step, shared out as a run does; one of every mix of kinds."""
        num_batches = self.config.gpus * self.recipe.loop.accumulate
        if len(planned) < num_batches:
            raise ConfigError(
                f"{len(planned)} samples a step for {self.config.gpus} GPUs with "
                f"{self.recipe.loop.accumulate} batches each: raise mixture.batch_size, or lower "
                "loop.accumulate or the number of GPUs."
            )
        batches = [planned[number::num_batches] for number in range(num_batches)]
        mixes = [tuple(kind for kind, _ in batch) for batch in batches]
        return [
            Alike(self._packed(batches[mixes.index(mix)]), number)
            for mix, number in Counter(mixes).items()
        ]

    def _packed(self, planned: Sequence[SampleSlot]) -> TrainBatch:
        return self.typical.collate.pack([self.typical.sample(*each) for each in planned])

    def _size(self, planned: Sequence[SampleSlot], alike: Sequence[Alike]) -> StepSize:
        samples, tokens = Counter[str](), Counter[str]()
        learnt = seen = 0
        for kind, ordinal in planned:
            sample, row = self.typical.sample(kind, ordinal)
            samples[kind] += 1
            tokens[kind] += len(row)
            learnt += sum(label != IGNORE_INDEX for label in row.labels)
            seen += len(sample.images) if isinstance(sample, UnderstandingSample) else 0
        positions = sum(each.batch.labels.numel() * each.number for each in alike)
        padding = sum(
            int((each.batch.rows.segment_ids == PAD_SEGMENT).sum()) * each.number for each in alike
        )
        return StepSize(
            samples={kind: samples[kind] for kind in KINDS},
            tokens={kind: tokens[kind] for kind in KINDS},
            rows=sum(len(each.batch.labels) * each.number for each in alike),
            padding=padding / positions,
            learnt_tokens=learnt,
            understanding_images=seen,
            generation_images=samples["generation"],
        )

    def run(self, batch: TrainBatch, *, recomputes: bool) -> Counted:
        """Learn one batch and count."""
        again = self.objective.blocks() if recomputes else ()
        for block in again:
            recompute(block, contexts=lambda: (nullcontext(), FusedAttention()))
        parts: dict[str, nn.Module] = {
            "llm": self.model.llm,
            "understanding_encoder": self.model.understanding_encoder,
            "generation_encoder": self.model.generation_encoder,
            "generation_decoder": self.model.generation_decoder,
            "vae_encoder": self.vae.encoder,
            "vae_decoder": self.vae.decoder,
        }
        if isinstance(self.objective.scorer, TowerScorer):
            parts["scorer"] = self.objective.scorer.tower
        if self.model.repa_head is not None:
            parts["repa_head"] = self.model.repa_head
        keeps_gradients = self.recipe.loop.accumulate > 1  # those of the batches before
        share = 0.0 if keeps_gradients else FP32_BYTES / self.model.dtype.itemsize
        with counting(
            parts, trained=self.objective, gradient_share=share / self.config.shard
        ) as meter:
            total = torch.stack(list(self.objective(batch).values())).sum()
            forward_flops = meter.flops
            total.backward()
        self.objective.zero_grad()
        for block in again:
            del block.forward  # the class's own is back
        forward = meter.flops_by_part
        forward["aligners_and_rest"] = forward_flops - forward.total()
        self._split_tower(forward, batch)
        gradients = 0 if keeps_gradients else self._trained_bytes()
        return Counted(
            forward=forward,
            backward=meter.flops - forward_flops,
            activation_bytes=max(0, int(meter.peak_bytes) - gradients),
        )

    def _split_tower(self, forward: Counter[str], batch: TrainBatch) -> None:
        """The tower reads pictures to understand, and drawn ones for REPA: as many each."""
        pictures = None if self.model.config.uses_latent_input else batch.pixel_values
        num_seen = 0 if pictures is None else len(pictures)
        drawn = batch.drawings
        is_aligned = self.recipe.objective.uses_head and drawn and drawn.features is None
        num_aligned = len(drawn) if drawn and is_aligned else 0
        flops = forward["understanding_encoder"]
        if num_aligned:
            forward["understanding_encoder_for_repa"] = (
                flops * num_aligned // (num_seen + num_aligned)
            )
            forward["understanding_encoder"] -= forward["understanding_encoder_for_repa"]

    def memory(self) -> Memory:
        """What one GPU holds while it learns the largest batch of the phases counted so far."""
        if self._largest is None:
            raise AssertionError("no phase has been counted")
        activation_bytes, batch = self._largest
        otherwise = self.run(batch, recomputes=not self.config.recompute).activation_bytes
        whole = sum(p.numel() for p in self.model.parameters())
        vae = sum(p.numel() for p in self.vae.parameters())
        trained = self._trained_bytes()
        return Memory(
            weights=FP32_BYTES * (whole // self.config.shard + vae),
            working_copy=self._working_copy(whole),
            gradients=trained,
            optimizer=ADAM_MOMENTS * trained - self._moments_saved(),
            average=trained if self.recipe.loop.ema else 0,
            batch=self.recipe.loop.accumulate * num_bytes(batch),
            activations=activation_bytes,
            activations_otherwise=otherwise,
        )

    def _moments_saved(self) -> int:
        """Muon keeps one moment where AdamW keeps two; it refuses shards."""
        matrices = muon_matrices(self.objective, self.recipe.loop.optimizer)
        if matrices and self.config.shard > 1:
            raise ConfigError(NEEDS_WHOLE)
        return FP32_BYTES * sum(matrix.numel() for matrix in matrices.values())

    def _trained_bytes(self) -> int:
        """Float32 bytes of this process's share of everything that trains."""
        trained = sum(p.numel() for p in self.objective.parameters() if p.requires_grad)
        return FP32_BYTES * trained // self.config.shard

    def _working_copy(self, whole: int) -> int:
        """What FSDP gathers beside the shares: weights to compute with, and gradients to add up.

        Of what is outside of blocks, both are whole until the end of a step (scale.py).
        """
        if self.config.shard == 1 and self.config.precision == "fp32":
            return 0
        blocks = [[*block.parameters()] for block in self.objective.blocks()]
        sizes = sorted(sum(p.numel() for p in block) for block in blocks)
        inside = {id(p) for block in blocks for p in block}
        outside = [p for p in self.objective.parameters() if id(p) not in inside]
        gradients = sum(p.numel() for p in outside if p.requires_grad)
        return self.model.dtype.itemsize * (whole - sum(sizes[:-GATHERED_BLOCKS]) + gradients)


def num_bytes(batch: TrainBatch) -> int:
    """Bytes of a batch's tensors."""
    owners = [batch, batch.rows, *([] if batch.drawings is None else [batch.drawings])]
    values = [getattr(owner, field.name) for owner in owners for field in fields(owner)]
    return sum(value.nbytes for value in values if isinstance(value, Tensor))
