"""Settings of adapters: what a fine-tune learns beside a frozen model."""

from dataclasses import dataclass
from math import inf
from typing import get_args

from janusflow.config.errors import ConfigError
from janusflow.config.model import require_positive
from janusflow.config.training import Precision

METHODS = ("lora", "dora")
REFUSED = {
    "prompt": "peft's prompt tuning wraps the model's forward, which drawing does not pass through",
    "int8": "layers of 8 bits have no gradient on a CPU, and torchao's are not built in yet",
}
"""What is asked for and not there, and why."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """An adapter: low-rank changes of frozen weights, by peft. Words and defaults are peft's."""

    method: str = "lora"
    """LoRA (Hu et al. 2021), or DoRA (Liu et al. 2024), which learns each weight's norms too."""
    rank: int = 16
    """Inner width of a change: a weight of shape [m, n] learns rank x (m + n) numbers."""
    alpha: float | None = None
    """Changes are multiplied by alpha / rank; None is `rank`, so by 1."""
    dropout: float = 0.0
    """Share of an adapted layer's inputs that its change does not see in training."""
    on: tuple[str, ...] = ("llm.attention", "llm.mlp", "generation", "aligners")
    """What gets changes: names of janusflow/tuning/targets.py, or paths of modules."""
    base_precision: str = "fp32"
    """What the frozen weights rest in; bf16 halves their memory and rounds them, so load the model
    in bfloat16 too. What is learnt is float32 either way."""

    def __post_init__(self) -> None:
        require_positive(self, "rank")
        for name, known in (("method", METHODS), ("base_precision", get_args(Precision))):
            value = getattr(self, name)
            if value not in known:
                why = f" ({REFUSED[value]})" if value in REFUSED else ""
                raise ConfigError(f"tune.{name}={value}{why}: wanted {' or '.join(known)}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"tune.dropout={self.dropout}: wanted a share in [0, 1).")
        if self.alpha is not None and not 0 < self.alpha < inf:
            raise ConfigError(
                f"tune.alpha={self.alpha}: wanted a number above 0, or null for the rank."
            )
        if not self.on:
            raise ConfigError(
                f"tune.on={list(self.on)}: name what to adapt, e.g. on: [llm.attention]."
            )
