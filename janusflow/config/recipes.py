"""What a recipe file may say: one frozen record per task, chosen by the file's `task` key."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janusflow.config.data import DataConfig
from janusflow.config.errors import ConfigError
from janusflow.config.learning.log import LogConfig
from janusflow.config.learning.preference import PreferenceConfig
from janusflow.config.learning.tuning import TuneConfig
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
    """Run folder; `model/` inside holds the averaged result, complete with processor and VAE, or
    with `tune` `adapter/` the averaged adapter."""
    data: DataConfig
    """What is learnt."""
    start: str | None = None
    """Model to start from: `mini`, a run, a model folder or a hub id."""
    processor: str = ""
    """The processor's folder, or the model whose it is; by default `start`."""
    vae: str = ""
    """Folder or hub id of a VAE, the VAE step's folder, or the model whose it is; likewise."""
    new: dict[str, Any] | None = None
    """Without `start`, what to build: `tower` and `llm` name trained parts (folders or hub ids; a
    run gives its model's LLM), the rest are arguments of JanusFlowConfig. With it, only `repa`
    (for a model without a head), `image_attention` and `plans`."""
    trainable: tuple[str, ...] = ()
    """Parts that train, by names in janusflow/training/stage/freezing.py; the rest is frozen.
    With `tune` there may be none; the adapter keeps them (peft's modules_to_save)."""
    tune: TuneConfig | None = None
    """Train an adapter of `start`, and leave that instead of a model."""
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    vae_encoding: VaeEncodingConfig = field(default_factory=VaeEncodingConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    preference: PreferenceConfig | None = None
    """Learn from the model's own drawings of the prompts in `data.generation`."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        for name in ("processor", "vae"):
            if not getattr(self, name):
                if self.start is None:
                    raise ConfigError(
                        f"{self.run}: start=null and no {name}: name a model to start from (mini, "
                        f"a folder, a run, a hub id), or a {name} beside what is new."
                    )
                object.__setattr__(self, name, self.start)
        if self.tune is not None:
            self._check_tune(self.tune)

    def _check_tune(self, tune: TuneConfig) -> None:
        if self.start is None:
            raise ConfigError(
                f"{self.run}: tune and no start: an adapter changes a model that is there: name it."
            )
        if self.trainable and tune.base_precision != "fp32":
            raise ConfigError(
                f"{self.run}: tune.base_precision={tune.base_precision} and "
                f"trainable={list(self.trainable)}: parts that train in full must be float32: use "
                "fp32."
            )
        changed = [name for name in self.new or {} if name != "plans"]
        if changed:
            raise ConfigError(
                f"{self.run}: tune and new={', '.join(changed)}: an adapter leaves its model as it "
                "is: take them out, or change the model first and start from that."
            )
