"""What a stage would take: parameters, tokens, memory, operations and days. Nothing is trained.

The real objective runs forward and backward on the meta device, on samples of assumed lengths that
are packed as a run packs them, and what it does is counted (costs/meter.py). What is not counted
but assumed stands in the report's notes.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn
from tqdm import tqdm

from janusflow.config.dry_run import DryRunConfig
from janusflow.config.errors import ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.config.recipes import StageRecipe
from janusflow.config.training import ParallelismConfig
from janusflow.training.estimate.simulation import Phase, Simulation
from janusflow.training.estimate.sizes import Sizes, sizes_of
from janusflow.training.recipes import read_recipes
from janusflow.training.stage.freezing import PARTS

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """A dry run's findings."""

    run: str
    schedule: str
    """How the learning rate goes, in words."""
    parameters: dict[str, int]
    """By part of the paper's figure, and of the VAE."""
    trainable: dict[str, int]
    """Of these."""
    phases: list[Phase]
    memory: dict[str, int]
    """Bytes of one GPU when it needs most."""
    config: DryRunConfig
    parallelism: ParallelismConfig
    notes: list[str]

    @property
    def flops(self) -> int:
        """Operations of the whole stage."""
        return sum(phase.steps * phase.step_flops for phase in self.phases)

    @property
    def gpu_days(self) -> float:
        """Days of one GPU at the assumed share of its peak."""
        rate = find_gpu(self.config.gpu).flops(self.parallelism.precision) * self.config.mfu
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
    return [dry_run(recipe, config) for recipe in tqdm(stages, disable=len(stages) == 1)]


def dry_run(recipe: StageRecipe, config: DryRunConfig) -> StageCost:
    """Count what a stage would take.

    Raises:
        CheckpointError: a configuration the recipe needs is not at hand.
        ConfigError: a step has fewer samples than GPUs, or they do not divide into shards; or the
            stage learns from its own drawings, whose cost is not counted.
    """
    if recipe.preference is not None:
        raise ConfigError(
            f"{recipe.run}: a dry run counts no rounds of preference (method="
            f"{recipe.preference.method}): run it for some steps, e.g. loop.steps=2."
        )
    sizes = sizes_of(recipe)
    begins = [0, *(ratio.until for ratio in recipe.mixture.ratios[:-1] if ratio.until)]
    begins = [begin for begin in begins if begin < recipe.loop.steps]
    ends = [*begins[1:], recipe.loop.steps]
    simulation = Simulation(recipe, sizes, config)
    phases = [
        simulation.phase(begin, steps=end - begin) for begin, end in zip(begins, ends, strict=True)
    ]
    parts = parameters_by_part(sizes)
    return StageCost(
        run=str(recipe.run),
        schedule=recipe.loop.rates(),
        parameters={part: sum(p.numel() for p in found) for part, found in parts.items()},
        trainable={
            part: sum(p.numel() for p in found if p.requires_grad) for part, found in parts.items()
        },
        phases=phases,
        memory=simulation.memory(),
        config=config,
        parallelism=recipe.loop.parallelism,
        notes=[*sizes.notes, *_assumptions(config, recipe)],
    )


def parameters_by_part(sizes: Sizes) -> dict[str, list[nn.Parameter]]:
    """The model's and the VAE's, which never trains."""
    found: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
    part_of = {name: part for part, names in PARTS.items() for name in names}
    for name, parameter in sizes.model.named_parameters():
        found[part_of[name.partition(".")[0]]].append(parameter)
    return found | {"vae": [*sizes.vae.requires_grad_(False).parameters()]}


def _assumptions(config: DryRunConfig, recipe: StageRecipe) -> list[str]:
    parallelism = recipe.loop.parallelism
    shard = parallelism.shard_size(config.gpus)
    copy = (
        "every GPU holds the whole model"
        if shard == 1
        else f"{shard} GPUs share one copy of weights, gradients, optimizer and average; each "
        "gathers two blocks, and all that is outside of blocks, to compute with"
    )
    precision = (
        "computing in bfloat16 with weights, gradients, optimizer and average in float32"
        if parallelism.precision == "bf16"
        else "everything in float32"
    )
    if recipe.tune is not None:
        precision += f"; frozen weights rest in {recipe.tune.base_precision}"
    return [
        f"tokens: {config.prompt_tokens} of a prompt for one image, {config.question_tokens} of a "
        f"question about one and {config.answer_tokens} of its answer, {config.text_tokens} of a "
        "plain text.",
        f"memory: {copy}; {precision}; the VAE whole and in "
        f"{recipe.vae_encoding.precision}; attention scores are not "
        "stored (a fused kernel); nothing for the CUDA context, fragmentation and communication.",
        "operations: matrix products, convolutions and attention, 2 for a multiplication and an "
        "addition; attention is counted over whole rows, masked pairs included.",
        f"time: {config.mfu:.0%} of the peak rate of {config.gpu} in {parallelism.precision}, "
        "whatever is run again included; nothing for reading data, checkpoints and failures.",
    ]
