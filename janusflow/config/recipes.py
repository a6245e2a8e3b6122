"""What a recipe file may say: one frozen record per task, chosen by the file's `task` key."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janusflow.config.data import DataConfig
from janusflow.config.learning.log import LogConfig
from janusflow.config.training import (
    LoopConfig,
    MixtureConfig,
    ObjectiveConfig,
    VaeEncodingConfig,
)

CHANGEABLE = (
    "log",
    "loop.guard",
    "loop.steps",
    "loop.log_every",
    "loop.save_every",
    "loop.keep",
    "loop.keep_every",
    "loop.micro_batch_size",
    "loop.parallelism.hsdp_shard_size",
    "loop.parallelism.activation_checkpointing",
    "loop.parallelism.compile",
    "mixture.max_bad_share",
    "vae_encoding.channels_last",
    "vae_encoding.batch_size",
    "data.cache",
)
"""Settings and sections that may change on a run that has begun: what is learnt stays the same but
for rounding. `loop.steps` only where the rate does not fall at the end (`decay_steps`)."""


@dataclass(frozen=True, kw_only=True)
class ShipRecipe:
    """Copy a finished run's model for giving away, its weights stored in half the bytes."""

    task: str
    run: Path
    """Run folder; `model/` inside holds the copy."""
    start: Path
    """Finished run whose model is copied."""


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """Train JanusFlow itself: a stage of the paper or a fine-tune."""

    task: str
    run: Path
    """Run folder; `model/` inside holds the averaged result, complete with processor and VAE."""
    processor: str
    """Folder or hub id of the processor."""
    vae: str
    """Folder of a VAE, or of the VAE step, or a hub id."""
    data: DataConfig
    """What is learnt."""
    start: str | None = None
    """Run, model folder or hub id to start from, the release's layout or ours."""
    new: dict[str, Any] | None = None
    """Without `start`, what to build: `tower` and `llm` name trained parts (folders or hub ids; a
    run gives its model's LLM), the rest are arguments of JanusFlowConfig. With it, only `repa`
    (for a model without a head), `image_attention` and `plans`."""
    trainable: tuple[str, ...] = ()
    """Parts that train, by names in janusflow/training/stage/freezing.py; the rest is frozen."""
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    vae_encoding: VaeEncodingConfig = field(default_factory=VaeEncodingConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: LogConfig = field(default_factory=LogConfig)
