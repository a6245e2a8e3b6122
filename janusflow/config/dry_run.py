"""What a dry run assumes: the machine, and how long texts are."""

from dataclasses import dataclass

from janusflow.config.errors import ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.config.model import require_positive


@dataclass(frozen=True, kw_only=True)
class DryRunConfig:
    """Where a run is imagined, and on what texts; how it lies there is `loop.parallelism`."""

    gpu: str = "a100"
    """One of config/gpus.py."""
    gpus: int = 8
    """Processes, one a GPU."""
    mfu: float = 0.4
    """Share of the GPU's peak rate that the run reaches."""
    prompt_tokens: int = 64
    """Of an image to draw."""
    question_tokens: int = 16
    """About an image."""
    answer_tokens: int = 64
    """To a question, or of a caption that is to be understood."""
    text_tokens: int = 512
    """Of a plain text."""

    def __post_init__(self) -> None:
        find_gpu(self.gpu)
        require_positive(
            self, "gpus", "prompt_tokens", "question_tokens", "answer_tokens", "text_tokens"
        )
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"mfu={self.mfu} must be above 0 and at most 1: 0.4 is usual.")
