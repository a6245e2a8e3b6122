"""Where a run reports to and what it shows of itself. Nothing here changes what is learnt."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

from janusflow.config.errors import ConfigError

TrackerName = Literal["tensorboard", "wandb", "trackio"]


@dataclass(frozen=True, kw_only=True)
class SampleQuestion:
    """A question about an image, asked again and again as training goes on."""

    image: Path
    """File of the image."""
    question: str
    """Answered with the likeliest tokens, so that only the weights change the answer."""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Trackers, and how often samples are shown: what every training recipe may say."""

    to: tuple[TrackerName, ...] = ()
    """Experiment trackers beside the console and log.jsonl; each needs the extra of its name."""
    project: str = "janusflow"
    """Project of the run in wandb and trackio."""
    samples_every: int = 0
    """Steps between samples; 0 for none."""

    def __post_init__(self) -> None:
        if self.samples_every < 0:
            raise ConfigError(f"samples_every={self.samples_every} must be 0 or more: change it.")


@dataclass(frozen=True, kw_only=True)
class LogConfig(ReportConfig):
    """What a stage may say besides: sample prompts and questions, and the device's best."""

    prompts: tuple[str, ...] = ()
    """What is drawn, image i always from seed i; by default what the run first learns to draw."""
    questions: tuple[SampleQuestion, ...] = ()
    """What is asked."""
    peak_tflops: float | None = None
    """Best TFLOP/s of one device in the dtype at hand, for MFU; by default that of a GPU which
    config/gpus.py knows, and without one the log has no MFU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peak_tflops is not None and not 0 < self.peak_tflops < inf:
            raise ConfigError(f"peak_tflops={self.peak_tflops} must be above 0: change it.")
