"""What a stage would take: parameters, tokens, memory, operations and days. Nothing is trained.

The real objective runs forward and backward on the meta device, on batches packed as a run packs
them, and what it does is counted (costs/meter.py). What is not counted but assumed stands in the
report's notes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from tqdm import tqdm

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.config.recipes import StageRecipe
from janusflow.config.training import ScaleConfig
from janusflow.training.estimate.simulation import Memory, Phase, Simulation
from janusflow.training.estimate.sizes import Sizes, sizes_of
from janusflow.training.estimate.typical import Typical
from janusflow.training.recipes import read_recipes
from janusflow.training.stage.freezing import PARTS

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class PartSize:
    """Parameters of a part of the paper's figure."""

    parameters: int
    trainable: int


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """A dry run's findings."""

    run: str
    parts: dict[str, PartSize]
    phases: list[Phase]
    memory: Memory
    config: DryRunConfig
    notes: list[str]

    @property
    def flops(self) -> int:
        """Operations of the whole stage."""
        return sum(phase.steps * phase.step_flops for phase in self.phases)

    @property
    def gpu_days(self) -> float:
        """Days of one GPU at the assumed share of its peak."""
        rate = find_gpu(self.config.gpu).flops(self.config.precision) * self.config.mfu
        return self.flops / rate / SECONDS_PER_DAY

    @property
    def hours(self) -> float:
        """Hours on all GPUs together."""
        return 24 * self.gpu_days / self.config.gpus


def dry_run_recipes(
    path: Path, overrides: tuple[str, ...], config: DryRunConfig
) -> list[StageCost]:
    """Count what a recipe file's stage would take, or every stage of a folder.

    Raises:
        ConfigError: there is no stage among the recipes.
    """
    recipes = read_recipes(path, overrides)
    stages = [recipe for recipe in recipes if isinstance(recipe, StageRecipe)]
    if not stages:
        tasks = ", ".join(recipe.task for recipe in recipes)
        raise ConfigError(f"{path}: task is {tasks}, and a dry run is for task: stage only.")
    return [
        dry_run(recipe, as_recipe_says(config, recipe.loop.scale))
        for recipe in tqdm(stages, disable=len(stages) == 1)
    ]


def as_recipe_says(config: DryRunConfig, scale: ScaleConfig) -> DryRunConfig:
    """Imagine the model on the machine as a recipe would lay it there."""
    return replace(
        config,
        shard=scale.shard_size(config.gpus),
        precision=scale.precision,
        recompute=scale.recompute,
    )


def dry_run(recipe: StageRecipe, config: DryRunConfig) -> StageCost:
    """Count what a stage would take.

    Raises:
        CheckpointError: a configuration the recipe needs is not at hand.
        ConfigError: a step has fewer samples than batches.
    """
    sizes = sizes_of(recipe)
    typical = Typical(recipe, sizes, config.lengths)
    begins = [0, *(ratio.until for ratio in recipe.mixture.ratios[:-1] if ratio.until)]
    begins = [begin for begin in begins if begin < recipe.loop.steps]
    ends = [*begins[1:], recipe.loop.steps]
    simulation = Simulation(recipe, sizes, typical, config)
    phases = [
        simulation.phase(begin, steps=end - begin) for begin, end in zip(begins, ends, strict=True)
    ]
    return StageCost(
        run=str(recipe.run),
        parts=part_sizes(sizes),
        phases=phases,
        memory=simulation.memory(),
        config=config,
        notes=[*sizes.notes, *typical.notes, *_assumptions(config)],
    )


def part_sizes(sizes: Sizes) -> dict[str, PartSize]:
    """Parameters by part, the VAE's too."""
    modules = {
        part: [getattr(sizes.model, name) for name in names] for part, names in PARTS.items()
    }
    found = {}
    for part, owners in {**modules, "vae": [sizes.vae]}.items():
        parameters = [
            parameter
            for owner in owners
            for parameter in (
                [owner] if isinstance(owner, nn.Parameter) else owner.parameters() if owner else []
            )
        ]
        trained = 0 if part == "vae" else sum(p.numel() for p in parameters if p.requires_grad)
        found[part] = PartSize(parameters=sum(p.numel() for p in parameters), trainable=trained)
    return found


def _assumptions(config: DryRunConfig) -> list[str]:
    copy = (
        "every GPU holds the whole model"
        if config.shard == 1
        else f"{config.shard} GPUs share one copy of weights, gradients, optimizer and average; "
        "each gathers two blocks, and all that is outside of blocks, to compute with"
    )
    precision = (
        "computing in bfloat16 with weights, gradients, optimizer and average in float32"
        if config.precision == "bf16"
        else "everything in float32"
    )
    return [
        f"memory: {copy}; {precision}; the VAE whole and in float32; attention scores are not "
        "stored (a fused kernel); nothing for the CUDA context, fragmentation and communication.",
        "operations: matrix products, convolutions and attention, 2 for a multiplication and an "
        "addition; attention is counted over whole rows, masked pairs included.",
        f"time: {config.mfu:.0%} of the peak rate of {config.gpu} in {config.precision}, "
        "whatever is run again included; nothing for reading data, checkpoints and failures.",
    ]
