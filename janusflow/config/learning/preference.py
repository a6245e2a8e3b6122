"""Preference learning: a stage draws its own images, has them judged, and learns from that."""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from janusflow.config.errors import ConfigError
from janusflow.config.model import require_positive

Method = Literal["nft", "dpo", "sft", "distill"]
ADAPTIVE = "dopri5"
DEFAULT_BETA: dict[Method, float] = {"nft": 1.0, "dpo": 100.0, "sft": 1.0, "distill": 1.0}
"""Published values for GenEval."""


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """One judge of the images a stage draws."""

    name: str
    """likelihood or answers (inference/rewards.py), or module:function."""
    weight: float = 1.0
    """Of its advantages, which every reward has in the same units; 0 is only logged."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments that this judge alone knows."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < inf:
            raise ConfigError(f"weight={self.weight} of reward {self.name} must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """Rounds of drawing, judging and learning. Of `data.generation` only prompts are read."""

    method: Method = "nft"
    """nft: DiffusionNFT (arXiv 2509.16117). dpo: Flow-DPO, best against worst of a prompt. sft: the
    velocity loss on the best, which is best-of-N learnt. distill: what the first weights do with
    the plan that an image was drawn from is learnt without it; no reward is needed."""
    rewards: tuple[RewardConfig, ...] = (RewardConfig(name="likelihood"),)
    """Judges; their judgement is by the weights that the stage started from."""
    prompts_per_round: int = 48
    """Prompts drawn between two updates of the policy that draws."""
    images_per_prompt: int = 24
    """A group: images of one prompt, compared with one another only."""
    steps_per_round: int = 1
    """Optimizer steps between two rounds."""
    batch_size: int | None = None
    """What a step learns of a round: drawings (nft, distill), pairs (dpo) or winners (sft); None is
    all."""
    drawing_steps: int = 10
    """Steps of the solver from noise to image."""
    guidance: float = 1.0
    """Guidance while drawing; 1 is none, as published: half the work."""
    planned: float = 0.0
    """Share of a group's images that are drawn from plans of the model's own. They too are learnt
    for the prompt alone."""
    solver: str = "euler"
    """Any fixed solver of `jf.generate`."""
    beta: float | None = None
    """How far nft's two velocities lie from the old one, or dpo's inverse temperature; None is
    the published 1 and 100."""
    advantage_clip: float = 5.0
    """Advantages are cut at plus and minus this, in standard deviations."""
    kl_weight: float = 1e-4
    """Weight of the mean squared difference to the velocity the stage started with."""
    winner_weight: float = 0.0
    """With dpo: weight of the velocity loss on winners, whose own loss dpo may let rise."""
    old_decay: tuple[float, float, float] = (0.0, 0.001, 0.5)
    """How slowly the policy that draws follows: first, rise a round, most. At round i it keeps
    min(first + rise i, most) of itself; below 0 counts as 0, which is on-policy. [1, 0, 1] never
    follows: offline."""
    with_mixture: bool = False
    """Whether steps also learn `mixture.batch_size` samples of the stage's mixture, as ever."""

    def __post_init__(self) -> None:
        require_positive(self, "prompts_per_round", "steps_per_round", "drawing_steps")
        first, rise, most = self.old_decay
        self._require("solver", self.solver != ADAPTIVE, "one with fixed steps, such as heun")
        self._require("images_per_prompt", self.images_per_prompt > 1, "2 or more, to compare")
        self._require(
            "batch_size",
            0 < self.units_per_step <= self.units_per_round,
            f"1 to {self.units_per_round}, what a round of {self.method} has",
        )
        self._require("planned", 0 <= self.planned <= 1, "in [0, 1]")
        self._require(
            "planned", self.planned > 0 or self.method != "distill", "above 0 with method=distill"
        )
        self._require("beta", 0 < self.strength < inf, "above 0")
        self._require("advantage_clip", 0 < self.advantage_clip < inf, "above 0")
        self._require("kl_weight", 0 <= self.kl_weight < inf, "0 or more")
        self._require("winner_weight", 0 <= self.winner_weight < inf, "0 or more")
        self._require(
            "winner_weight", not self.winner_weight or self.method == "dpo", "0 without method=dpo"
        )
        self._require(
            "old_decay",
            first <= most and rise >= 0 <= most <= 1,
            "first, rise, most: first not above most, a rise of 0 or more, most in [0, 1]",
        )
        names = [reward.name for reward in self.rewards]
        prefers = self.method == "distill" or any(reward.weight for reward in self.rewards)
        if len(names) > len({*names}) or not prefers:
            raise ConfigError(
                f"rewards={names}: wanted different ones, at least one of them with a weight above "
                "0, or nothing is preferred."
            )

    def _require(self, name: str, fits: bool, wanted: str) -> None:
        if not fits:
            raise ConfigError(f"{name}={getattr(self, name)} must be {wanted}: change it.")

    @property
    def units_per_round(self) -> int:
        """What a round has to learn: drawings, or one pair or winner a prompt."""
        learns_all = self.method in ("nft", "distill")
        return self.prompts_per_round * (self.images_per_prompt if learns_all else 1)

    @property
    def units_per_step(self) -> int:
        """Of these, what one step learns."""
        return self.units_per_round if self.batch_size is None else self.batch_size

    @property
    def strength(self) -> float:
        """`beta`, or the method's own."""
        return DEFAULT_BETA[self.method] if self.beta is None else self.beta

    def decay(self, round_number: int) -> float:
        """How much of itself the drawing policy keeps before a round, counted from 0."""
        first, rise, most = self.old_decay
        return min(max(first + rise * round_number, 0.0), most)
