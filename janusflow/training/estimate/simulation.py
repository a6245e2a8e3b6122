"""A stage's micro-batches run through its objective on the meta device: what they take, counted."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.costs.meter import FusedAttention, counting
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.batches.mixture import Kind, plan
from janusflow.data.batches.packing import balanced
from janusflow.training.engine.optim import NEEDS_WHOLE, muon_matrices
from janusflow.training.engine.parallelize import checkpoint_activations, to_device
from janusflow.training.estimate.assumed import assumed_samples, word_tokenizer
from janusflow.training.estimate.sizes import Sizes
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.scoring import load_scorer
from janusflow.training.stage.build_model import DTYPES, encoding_vae

FP32_BYTES = 4
ADAM_MOMENTS = 2
GATHERED_BLOCKS = 2
"""Blocks that FSDP holds whole at a time: the one that computes and the next."""
COUNTED = {
    "llm": "model.llm",
    "understanding_encoder": "model.understanding_encoder",
    "generation_encoder": "model.generation_encoder",
    "generation_decoder": "model.generation_decoder",
    "repa_head": "model.repa_head",
    "vae_encoder": "vae.encoder",
    "scorer": "scorer.tower",
}
"""What runs -> where it is in the objective."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps of one mixture; what a step holds and takes, all processes together."""

    steps: int
    batch_stats: dict[str, int]
    """Samples by kind, tokens, positions (tokens and padding), images, rows, learnt tokens."""
    forward_flops: dict[str, int]
    """By what runs."""
    backward_flops: int
    """With blocks that are run again."""

    @property
    def step_flops(self) -> int:
        """Operations of a step."""
        return sum(self.forward_flops.values()) + self.backward_flops


class Simulation:
    """Runs a recipe's micro-batches through its objective on the meta device."""

    def __init__(self, recipe: StageRecipe, sizes: Sizes, config: DryRunConfig) -> None:
        if recipe.objective.scorer is not None:
            raise ConfigError(
                f"a dry run does not load objective.scorer={recipe.objective.scorer}: leave it "
                "out, and the model's own tower stands for it."
            )
        self.recipe, self.config, self.parallelism = recipe, config, recipe.loop.parallelism
        self.model, self.vae = sizes.model, encoding_vae(sizes.vae, recipe.vae_encoding)
        nn.Module.to(self.model, DTYPES[self.parallelism.precision])
        tune = recipe.tune
        self.frozen_dtype = DTYPES[tune.base_precision] if tune else torch.float32
        """What frozen weights rest in."""
        if self.frozen_dtype != torch.float32:
            for parameter in self.model.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(self.frozen_dtype)
        self.objective = JanusFlowObjective(
            self.model,
            recipe.objective,
            vae=self.vae,
            vae_batch_size=recipe.vae_encoding.batch_size,
            scorer=load_scorer(recipe.objective, self.model),
        )
        model_config, row_tokens = self.model.config, recipe.mixture.row_tokens
        self.collate = Collator(word_tokenizer(model_config), model_config, row_tokens=row_tokens)
        self.samples = assumed_samples(recipe, sizes, config, self.collate)
        self.num_micro_batches = recipe.loop.num_micro_batches(
            recipe.mixture.batch_size, config.gpus
        )
        self.activation_bytes = self.batch_bytes = 0
        """Of the micro-batch that takes most."""
        self.shard = self.parallelism.shard_size(config.gpus)

    def phase(self, begin: int, *, steps: int) -> Phase:
        """Count a step of the mixture in force from step `begin` on.

        Micro-batches are shared out as a run does; of those with the same kinds one is run.
        """
        kinds: list[Kind] = [kind for kind, _ in plan(self.recipe.mixture, begin)]
        gpus, number = self.config.gpus, self.num_micro_batches
        samples, stride = range(len(kinds)), self.config.gpus * number
        parts = [
            [samples[gpu * number + part :: stride] for part in range(number)]
            for gpu in range(gpus)
        ]
        lengths = [len(self.samples[kind].row) for kind in kinds]
        mixes: Counter[tuple[Kind, ...]] = Counter(
            tuple(kinds[i] for i in part) for own in balanced(parts, lengths) for part in own
        )
        forward, batch_stats, backward = Counter[str](), Counter[str](), 0
        for mix, times in mixes.items():
            batch = self.collate.pack([self.samples[kind] for kind in mix])
            by_part, own_backward = self.run(batch)
            counts = {"rows": len(batch.labels), "learnt_tokens": len(batch.learnt_positions)}
            batch_stats.update(
                {name: times * count for name, count in (batch.batch_stats | counts).items()}
            )
            forward.update({name: times * flops for name, flops in by_part.items()})
            backward += times * own_backward
        return Phase(
            steps=steps,
            batch_stats=dict(batch_stats),
            forward_flops=dict(forward),
            backward_flops=backward,
        )

    def run(self, batch: TrainBatch) -> tuple[Counter[str], int]:
        """Learn one micro-batch; returns operations forward, by part, and backward."""
        again = self.objective.blocks() if self.parallelism.activation_checkpointing else ()
        for block in again:
            checkpoint_activations(block, contexts=lambda: (nullcontext(), FusedAttention()))
        hollow = to_device(batch, torch.device("meta"))
        with counting(trained=self.objective) as meter:
            losses = self.objective(hollow)
            forward_flops, name = meter.flops, type(self.objective).__name__
            forward = Counter({p: meter.flops_of(f"{name}.{path}") for p, path in COUNTED.items()})
            torch.stack([*losses.values()]).sum().backward()
        self.objective.zero_grad()
        for block in again:
            del block.forward  # the class's own is back
        forward["aligners_and_rest"] = forward_flops - forward.total()
        if meter.peak_bytes > self.activation_bytes:
            self.activation_bytes, self.batch_bytes = meter.peak_bytes, num_bytes(batch)
        return +forward, meter.flops - forward_flops

    def memory(self) -> dict[str, int]:
        """Bytes of one GPU while it learns the largest micro-batch of those run so far.

        `working_copy` is what computing takes beside the kept weights and gradients; `batch` is all
        of a step's micro-batches; `activations` the most that forward and backward hold.
        """
        trained = num_trained(self.objective) * FP32_BYTES // self.shard
        whole = sum(p.numel() for p in self.model.parameters())
        frozen = self.frozen_dtype.itemsize * (whole - num_trained(self.model)) // self.shard
        matrices = muon_matrices(self.objective, self.recipe.loop.optimizer)
        if matrices and self.shard > 1:
            raise ConfigError(NEEDS_WHOLE)
        moments_saved = sum(matrix.numel() for matrix in matrices.values())
        return {
            "weights": trained + frozen + sum(p.nbytes for p in self.vae.parameters()),
            "working_copy": self._working_copy(whole),
            "gradients": trained,
            "optimizer": ADAM_MOMENTS * trained - FP32_BYTES * moments_saved,
            "average": trained if self.recipe.loop.ema else 0,
            "batch": self.num_micro_batches * self.batch_bytes,
            "activations": self.activation_bytes,
        }

    def _working_copy(self, whole: int) -> int:
        """What FSDP gathers beside the shares: weights to compute with, and gradients to add up.

        Of what is outside of blocks, both are whole until the end of a step (parallelize.py).
        """
        if self.shard == 1 and self.parallelism.precision == "fp32":
            return 0
        blocks = self.objective.blocks()
        sizes = sorted(sum(p.numel() for p in block.parameters()) for block in blocks)
        gradients = num_trained(self.objective) - sum(map(num_trained, blocks))
        itemsize = DTYPES[self.parallelism.precision].itemsize
        return itemsize * (whole - sum(sizes[:-GATHERED_BLOCKS]) + gradients)


def num_trained(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def num_bytes(batch: TrainBatch) -> int:
    """Bytes of a batch's tensors."""
    owners = [batch, batch.rows, *([] if batch.drawings is None else [batch.drawings])]
    values = [getattr(owner, field.name) for owner in owners for field in fields(owner)]
    return sum(value.nbytes for value in values if isinstance(value, Tensor))
