"""Settings of the one training loop. A stage of the paper, or a fine-tune, is a value of these.

Defaults are the paper's (Table 1, stage 1); what the paper does not state says so.
"""

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Literal, get_args

from janusflow.config.errors import ConfigError
from janusflow.config.model import require_positive

WARMUP_SHARE, MAX_WARMUP = 5, 2000
"""Of a run that does not say: one step in so many, at most so many."""
Alignment = Literal["repa", "contrastive", "score", "none"]
"""What may help drawing beside the velocity loss."""


def _require(record: object, name: str, fits: bool, wanted: str) -> None:
    if not fits:
        raise ConfigError(f"{name}={getattr(record, name)} must be {wanted}: change it.")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, or Muon beside it, with warm-up and a constant rate."""

    muon: bool = False
    """Muon moves the matrices of repeated blocks; the paper has AdamW alone. Not with shards."""
    learning_rate: float = 1e-4
    """Rate after warm-up."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    warmup_steps: int | None = None
    """Steps over which the rate rises linearly from 0; None is a fifth of the run's, at most 2,000,
    which is the paper's stage 1."""
    decay_steps: int = 0
    """Last steps over which the rate falls linearly to 0; the paper has none."""

    def __post_init__(self) -> None:
        _require(self, "learning_rate", 0 < self.learning_rate < inf, "above 0")
        _require(self, "betas", all(0 <= beta < 1 for beta in self.betas), "in [0, 1)")
        _require(self, "weight_decay", 0 <= self.weight_decay < inf, "0 or more")
        _require(self, "clip_norm", self.clip_norm > 0, "above 0")
        _require(self, "warmup_steps", (self.warmup_steps or 0) >= 0, "0 or more")
        _require(self, "decay_steps", self.decay_steps >= 0, "0 or more")

    def warmup(self, num_steps: int) -> int:
        """Steps of warm-up in a run of so many."""
        default = min(MAX_WARMUP, num_steps // WARMUP_SHARE)
        return default if self.warmup_steps is None else self.warmup_steps

    def rate_at(self, step: int, num_steps: int) -> float:
        """The rate of a step counted from 0: the first step already moves, the last one too."""
        warmup, decay = self.warmup(num_steps), self.decay_steps
        up = min(1.0, (step + 1) / warmup) if warmup else 1.0
        down = min(1.0, (num_steps - step) / decay) if decay else 1.0
        return self.learning_rate * min(up, down)

    def schedule(self, num_steps: int) -> str:
        """How the rate goes: `0 to 0.001 in 100 steps, 0.001 to step 900, then to 0 at ...`."""
        warmup, decay = self.warmup(num_steps), self.decay_steps
        rises, falls = min(warmup, num_steps), num_steps - decay
        if warmup and rises > falls:  # the lower of two lines holds: up to where they cross
            rises = max(1, int((num_steps * warmup - decay) / (warmup + decay)) + 1)
        top = f"{self.rate_at(max(rises - 1, 0), num_steps):.3g}"
        parts = [f"0 to {top} in {rises:,} steps"] if rises else []
        if falls > rises:
            parts.append(f"{top} to step {falls:,}")
        if decay:
            parts = [*parts, f"then to 0 at step {num_steps:,}"] if parts else [f"{top} to 0"]
        return ", ".join(parts)


Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class ParallelismConfig:
    """How a step is spread over processes and memory. Only `precision` changes what is learnt."""

    precision: Precision = "fp32"
    """What blocks compute in; weights, averages and sums of gradients are float32 anyway."""
    hsdp_shard_size: int = 1
    """Processes that hold one copy of everything between them: at most so many, 0 is all of them.
    Copies are added up once a step (HSDP)."""
    activation_checkpointing: bool = False
    """Activations within a block of the LLM are computed again for its gradients, not kept."""
    compile: bool = False
    """Blocks of the LLM run through torch.compile."""

    def __post_init__(self) -> None:
        _require(self, "precision", self.precision in get_args(Precision), "fp32 or bf16")
        _require(self, "hsdp_shard_size", self.hsdp_shard_size >= 0, "0 or more")

    def shard_size(self, num_processes: int) -> int:
        """How many of so many processes hold one copy between them.

        Raises:
            ConfigError: copies would be held by different numbers of processes.
        """
        size = min(self.hsdp_shard_size or num_processes, num_processes)
        if num_processes % size:
            raise ConfigError(
                f"loop.parallelism.hsdp_shard_size={self.hsdp_shard_size} for {num_processes} "
                "processes: wanted a number that divides them."
            )
        return size


@dataclass(frozen=True, kw_only=True)
class VaeEncodingConfig:
    """How the frozen VAE turns images into latents, which are float32 in the losses anyway."""

    precision: Precision = "fp32"
    """What it computes in; bf16 changes what is learnt a little, and is slow on most CPUs."""
    channels_last: bool = False
    """Whether its kernels lie channels last in memory, which is what tensor cores read."""
    batch_size: int | None = None
    """Images encoded at a time; None is all of a micro-batch."""

    def __post_init__(self) -> None:
        _require(self, "precision", self.precision in get_args(Precision), "fp32 or bf16")
        if self.batch_size is not None:
            require_positive(self, "batch_size")


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What happens at a step whose gradient is no number, or far larger than usual.

    A gradient that is no number never moves the weights, whatever is set here.
    """

    not_finite: Literal["stop", "skip"] = "stop"
    """Where a loss or the gradient is no number: stop the run, or go on without the step."""
    spike: Literal["report", "skip", "stop"] = "report"
    """Where the gradient's norm is a spike: take the step all the same, skip it, or stop."""
    spike_times: float = 10.0
    """A norm is a spike above this many times the median of the last `window` norms."""
    window: int = 100
    """Norms the median is over; until there are half as many, nothing is a spike."""
    max_skips: int = 10
    """Steps skipped one after another before the run stops."""

    def __post_init__(self) -> None:
        require_positive(self, "window", "max_skips")
        _require(self, "spike_times", self.spike_times > 1, "above 1")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long, how often, from which seed."""

    steps: int = 10_000
    """Optimizer steps in all."""
    seed: int = 0
    """Everything random in a run follows from it and from the step."""
    micro_batch_size: int | None = None
    """Samples a process computes at a time; None is its whole share of a step.

    Less takes less memory: gradients are accumulated over the micro-batches and are the same.
    A stage makes them even in tokens, so one of short samples may hold more."""
    ema: float = 0.99
    """Decay of the averaged weights; 0 keeps none. At step n it is at most (1 + n) / (10 + n), so
    that the average of a short run is not of where it began."""
    log_every: int = 10
    """Steps between log lines."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints kept; older ones are deleted."""
    keep_every: int = 0
    """Checkpoints of every so many steps are kept for good; 0 for none."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    parallelism: ParallelismConfig = field(default_factory=ParallelismConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        require_positive(self, "steps", "log_every", "save_every", "keep")
        if self.micro_batch_size is not None:
            require_positive(self, "micro_batch_size")
        _require(self, "seed", self.seed >= 0, "0 or more")
        _require(self, "keep_every", self.keep_every >= 0, "0 or more")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema={self.ema} must be in [0, 1): the paper uses 0.99.")

    def rates(self) -> str:
        """What the learning rate does, and in the same line if the run ends as it still rises."""
        told = f"learning rate {self.optimizer.schedule(self.steps)}"
        if self.optimizer.warmup(self.steps) < self.steps or self.steps == 1:
            return told
        return (
            f"{told}; loop.optimizer.warmup_steps={self.optimizer.warmup_steps} is no less than "
            f"loop.steps={self.steps}: the rate of {self.optimizer.learning_rate:g} is never used. "
            "Leave warmup_steps out, or train for longer."
        )

    def num_micro_batches(self, batch_size: int, num_processes: int) -> int:
        """How many micro-batches each process splits its share of a step into.

        The same in every process. Where the sizes do not divide, some hold one sample more than
        `micro_batch_size`.

        Raises:
            ConfigError: there are fewer samples than processes.
        """
        share = batch_size // num_processes
        if share == 0:
            raise ConfigError(
                f"{batch_size} samples a step for {num_processes} processes: raise the batch size "
                "to one sample for each, or start fewer processes."
            )
        size = self.micro_batch_size or batch_size
        return min(share, ceil(batch_size / (num_processes * size)))


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The three losses (paper section 3.2), what may stand for the third, and what they need."""

    flow_weight: float = 1.0
    """Weight of the velocity loss."""
    alignment: Alignment = "repa"
    """What helps drawing beside the velocity loss.

    repa: the head's features point where the tower's of the clean image do; contrastive: each
    patch's finds the tower's among the image's patches; score: a frozen scorer sees in the
    estimated image what it should; none.
    """
    alignment_weight: float = 1.0
    """Weight of that loss; the paper prints no coefficient."""
    temperature: float = 0.1
    """What similarities are divided by in the contrastive loss."""
    scorer: str | None = None
    """Folder or hub id of a CLIP or SigLIP pair for `score`; None is the model's own tower."""
    score_against: Literal["image", "prompt"] = "image"
    """What the estimate's features are compared with: the true image's, or its prompt's."""
    text_weight: float = 1.0
    """Weight of next-token prediction on responses and plain texts."""
    drop_prompt: float = 0.1
    """Share of images whose prompt is hidden, for guidance."""
    time_mean: float = 0.0
    """Mean of the normal whose logistic is the time; the paper follows SD3, which uses 0."""
    time_std: float = 1.0
    """Standard deviation of that normal; SD3 uses 1."""

    def __post_init__(self) -> None:
        for name in ("flow_weight", "alignment_weight", "text_weight", "time_std"):
            _require(self, name, 0 <= getattr(self, name) < inf, "0 or more")
        _require(self, "drop_prompt", 0 <= self.drop_prompt <= 1, "in [0, 1]")
        _require(self, "temperature", 0 < self.temperature < inf, "above 0")
        if self.scorer is not None and self.alignment != "score":
            raise ConfigError(
                f"scorer={self.scorer} but alignment={self.alignment}: set alignment=score, or "
                "leave the scorer out."
            )
        if self.score_against == "prompt" and self.scorer is None:
            raise ConfigError(
                f"score_against={self.score_against} but scorer=null: name a CLIP or SigLIP pair; "
                "the model's own tower reads no text."
            )

    @property
    def aligns(self) -> bool:
        """Whether images to draw bear a loss beside that of the velocity."""
        return self.alignment != "none" and self.alignment_weight > 0

    @property
    def uses_head(self) -> bool:
        """Whether that loss is about the REPA head's guess of the tower's features."""
        return self.aligns and self.alignment != "score"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Shares of one batch: understanding, generation, text. They need not add up to one."""

    understanding: float = 0.0
    generation: float = 0.0
    text: float = 0.0
    until: int | None = None
    """Used before this step; None means to the end."""

    def __post_init__(self) -> None:
        shares = (self.understanding, self.generation, self.text)
        if not (all(0 <= share < inf for share in shares) and sum(shares) > 0):
            raise ConfigError(f"{self}: shares must not be negative, and at least one above 0.")


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Samples per step and their kinds."""

    batch_size: int = 512
    """Samples per step, of all kinds together."""
    row_tokens: int = 4096
    """Longest row that samples are packed into, in tokens."""
    max_bad_share: float = 0.01
    """Share of rows that may make no sample (say, a damaged image). A larger share among all rows
    of a run, in all its processes, stops it once it is no chance (99.9%)."""
    ratios: tuple[Ratio, ...] = (Ratio(understanding=50.0, generation=50.0, text=0.0),)
    """One after another; the last has no `until`."""

    def __post_init__(self) -> None:
        require_positive(self, "batch_size", "row_tokens")
        _require(self, "max_bad_share", 0 <= self.max_bad_share <= 1, "in [0, 1]")
        if not self.ratios or self.ratios[-1].until is not None:
            raise ConfigError(
                f"ratios={self.ratios}: the last must have no `until`, so that every step has one."
            )
        ends = [ratio.until for ratio in self.ratios[:-1]]
        begins = [0, *ends]
        if any(
            end is None or end <= (begin or 0) for begin, end in zip(begins, ends, strict=False)
        ):
            raise ConfigError(
                f"ratios with until={ends}: all but the last need an `until`, each above the one "
                "before, or some would never be used."
            )
