"""What a dry run assumes: the machine, how the model lies on it, and how long texts are."""

from dataclasses import dataclass, field

from janusflow.config.errors import ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.config.model import require_positive

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class TypicalLengths:
    """Tokens of a text, where no rows of the sources can be read."""

    prompt_tokens: int = 64
    """Of a picture to draw."""
    question_tokens: int = 16
    """About a picture."""
    answer_tokens: int = 64
    """To a question, or of a caption that is to be understood."""
    text_tokens: int = 512
    """Of a plain text."""

    def __post_init__(self) -> None:
        require_positive(self, "prompt_tokens", "question_tokens", "answer_tokens", "text_tokens")


@dataclass(frozen=True, kw_only=True)
class DryRunConfig:
    """Where and how a run is imagined; how it lies there is the recipe's `loop.scale`."""

    gpu: str = "a100"
    """One of config/gpus.py."""
    gpus: int = 8
    """Processes, one a GPU."""
    shard: int = 1
    """How many of them share one copy of weights, gradients, optimizer and average (FSDP)."""
    precision: str = "bf16"
    """bf16 computes in bfloat16 with master weights in float32."""
    recompute: bool = False
    """Keep only the blocks' inputs for backward, and run every block again there."""
    mfu: float = 0.4
    """Share of the GPU's peak rate that the run reaches."""
    lengths: TypicalLengths = field(default_factory=TypicalLengths)

    def __post_init__(self) -> None:
        find_gpu(self.gpu)
        require_positive(self, "gpus", "shard")
        if self.gpus % self.shard:
            raise ConfigError(
                f"shard={self.shard} does not divide gpus={self.gpus}: every copy of the model "
                "takes the same number of processes."
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision={self.precision!r}: use fp32 or bf16.")
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"mfu={self.mfu} must be above 0 and at most 1: 0.4 is usual.")
