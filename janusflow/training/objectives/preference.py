"""Learning from what the model drew itself, by how good each image is among those of its prompt.

DiffusionNFT (Zheng et al., arXiv 2509.16117) needs final images and rewards alone, so any solver
may have drawn them. Flow-DPO (Liu et al., arXiv 2501.13918) compares the best image with the worst.
The plain velocity loss on the best (best-of-N) is what both are to beat. Time runs from noise to
data here, so the data that a velocity v points to is x_t + (1 - t) v.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.functional import logsigmoid

from janusflow.config.learning.preference import PreferenceConfig
from janusflow.data.batches.collate import TrainBatch
from janusflow.flow.path import PathPoint, per_example
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.engine.distributed import device
from janusflow.training.engine.optim import Ema
from janusflow.training.engine.parallelize import full_state_dict, to_device
from janusflow.training.objectives.janusflow import JanusFlowObjective, drop_prompts

LEAST_DISTANCE = 1e-5
"""What a mean distance is at least where errors are divided by it, as published."""
LEAST_SPREAD = 1e-8
"""Added to a standard deviation that rewards are divided by."""


@dataclass(frozen=True, kw_only=True)
class PreferenceBatch(TrainBatch):
    """Drawings with rewards, and what other policies would do at the same points."""

    old: Float[Tensor, "p c y x"] | None
    """Velocities of the policy that drew; None where the method has no use for them."""
    reference: Float[Tensor, "p c y x"] | None
    """Velocities of the weights that the stage started with; None without `kl_weight`. With distill
    they have read the plans."""


class PreferenceObjective(JanusFlowObjective):
    """The paper's losses, and of drawings with rewards the loss of preference.

    Two more policies share the model's frozen weights: `old`, which draws and follows the trained
    weights slowly, and `reference`, where these started. What is kept of them is what trains: all
    weights, or those of an adapter, whose reference is then the model without it.
    """

    old: Ema
    reference: Ema

    def __init__(
        self,
        model: JanusFlowForConditionalGeneration,
        *args: Any,
        preference: PreferenceConfig,
        build: Callable[[Mapping[str, Tensor]], JanusFlowForConditionalGeneration],
        **parts: Any,
    ) -> None:
        super().__init__(model, *args, **parts)
        self.preference, self.build = preference, build

    def begin(self) -> None:
        """Note the weights that the stage starts with."""
        self.old, self.reference = Ema(self, decay=1.0), Ema(self, decay=1.0)

    def kept(self) -> dict[str, Tensor]:
        """The old policy; the reference is where the run starts anyway."""
        return {f"old.{name}": shadow for name, shadow in self.old.shadow.items()}

    def follow(self, round_number: int) -> None:
        """Let the policy that draws follow the trained weights, before a round."""
        self.old.move(self.preference.decay(round_number))

    @contextmanager
    def policy(self, weights: Ema) -> Iterator[None]:
        """The model computes by these weights, without dropout, inside the block."""
        training = [module for module in self.modules() if module.training]
        with weights.swapped_in(), torch.no_grad():
            self.eval()
            try:
                yield
            finally:
                for module in training:
                    module.training = True

    @contextmanager
    def whole_model(self, weights: Ema) -> Iterator[JanusFlowForConditionalGeneration]:
        """The model under a policy, to draw or judge with: itself, or of shards a whole copy."""
        with self.policy(weights):
            if not isinstance(self, FSDPModule):
                yield self.model
                return
            state = full_state_dict(self.model, on_all=True)
        yield self.build(state)

    def compared(self, batch: TrainBatch, *, planned: TrainBatch | None = None) -> PreferenceBatch:
        """A batch of drawings with what the method compares velocities with.

        Args:
            batch: the drawings by their prompts.
            planned: the same drawings by the plans they were drawn from, which distill compares
                with; in any order.
        """
        batch = to_device(batch, device())
        if planned is not None:
            old, reference = None, self._taught(batch, to_device(planned, device()))
            return PreferenceBatch(**vars(batch), old=old, reference=reference)
        needs_old, needs_reference = self.preference.method != "sft", self.preference.kl_weight > 0
        return PreferenceBatch(
            **vars(batch),
            old=self._velocity_of(self.old, batch) if needs_old else None,
            reference=self._velocity_of(self.reference, batch) if needs_reference else None,
        )

    def _taught(self, batch: TrainBatch, planned: TrainBatch) -> Float[Tensor, "p c y x"]:
        """What the first weights do with the plans, in the batch's order."""
        assert batch.drawings is not None
        assert planned.drawings is not None
        place = {seed: index for index, seed in enumerate(planned.drawings.seeds)}
        velocity = self._velocity_of(self.reference, planned)
        return velocity[[place[seed] for seed in batch.drawings.seeds]]

    def _velocity_of(self, weights: Ema, batch: TrainBatch) -> Float[Tensor, "p c y x"]:
        with self.policy(weights):
            velocity = self(batch)["velocity"]
            if isinstance(self, FSDPModule):
                self.reshard()  # or the trained weights would not be gathered anew
        return velocity

    def loss_counts(self, batch: TrainBatch) -> dict[str, int]:
        """Drawings or pairs of them, beside what the paper's losses count."""
        method, counts = self.preference.method, super().loss_counts(batch)
        num_drawings, num_units = 0, 0
        if isinstance(batch, PreferenceBatch) and batch.drawings is not None:
            counts = dict.fromkeys(counts, 0)
            num_drawings = len(batch.drawings)
            num_units = num_drawings // 2 if method == "dpo" else num_drawings
        winners = {"winner": num_units} if self.preference.winner_weight else {}
        has_kl = self.preference.kl_weight > 0 and method != "distill"
        kl = {"kl": num_drawings} if has_kl else {}
        return counts | {method: num_units} | winners | kl

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Weighted losses; of drawings with rewards that were not compared yet, velocities."""
        drawings = batch.drawings
        if drawings is None or drawings.rewards is None:
            return super().forward(batch)
        point, is_dropped = self.points(drawings)
        velocity = self.model.read_rows(
            drop_prompts(batch.rows, drawings.prompt_of, is_dropped),
            learnt_positions=batch.learnt_positions,
            x_t=point.x_t,
            t=point.t,
        ).velocity
        assert velocity is not None
        velocity = velocity.float()
        if not isinstance(batch, PreferenceBatch):
            return {"velocity": velocity}
        if self.preference.method == "distill":
            assert batch.reference is not None
            return {"distill": mean_square(velocity - batch.reference).sum()}
        losses = self._preferred(velocity, batch.old, point, drawings.rewards, drawings.seeds)
        if batch.reference is not None:
            moved = mean_square(velocity - batch.reference).sum()
            losses["kl"] = self.preference.kl_weight * moved
        return losses

    def _preferred(
        self,
        velocity: Float[Tensor, "p c y x"],
        old: Float[Tensor, "p c y x"] | None,
        point: PathPoint,
        rewards: Float[Tensor, " p"],
        seeds: tuple[int, ...],
    ) -> dict[str, Tensor]:
        method, beta = self.preference.method, self.preference.strength
        errors = mean_square(velocity - point.velocity)
        if old is None:
            return {method: (rewards * errors).sum()}
        if method == "nft":
            clip = self.preference.advantage_clip
            losses = nft_loss(velocity, old, point, rewards, beta=beta)
            return {method: clip * losses.sum()}
        pairs = sorted(range(len(seeds)), key=lambda place: seeds[place])
        gains = (errors - mean_square(old - point.velocity))[pairs].view(-1, 2)
        losses = {method: dpo_loss(gains, rewards[pairs].view(-1, 2), beta=beta).sum()}
        if self.preference.winner_weight:
            losses["winner"] = self.preference.winner_weight * (rewards * errors).sum()
        return losses


# ---- losses: one a drawing or pair -------------------------------------------------------------


def mean_square(values: Float[Tensor, "p c y x"]) -> Float[Tensor, " p"]:
    """Mean of the squares of each drawing's values."""
    return values.square().flatten(1).mean(1)


def nft_loss(
    velocity: Float[Tensor, "p c y x"],
    old: Float[Tensor, "p c y x"],
    point: PathPoint,
    rewards: Float[Tensor, " p"],
    *,
    beta: float,
) -> Float[Tensor, " p"]:
    """DiffusionNFT's loss of each drawing, divided by beta.

    A velocity v+ on the new policy's side of the old one is to lead to images in so far as they are
    good (reward 1), its mirror image v- on the other side in so far as they are bad (0).
    """
    time_left = per_example(1 - point.t, velocity)
    data = point.x_t + time_left * point.velocity
    step = beta * (velocity - old)

    def error(of: Tensor) -> Float[Tensor, " p"]:
        off = point.x_t + time_left * of - data
        distance = off.detach().abs().flatten(1).mean(1).clamp(min=LEAST_DISTANCE)
        return mean_square(off) / distance

    return (rewards * error(old + step) + (1 - rewards) * error(old - step)) / beta


def dpo_loss(
    gains: Float[Tensor, "n 2"], rewards: Float[Tensor, "n 2"], *, beta: float
) -> Float[Tensor, " n"]:
    """Flow-DPO's loss of pairs: -log sigmoid(-beta/2 (gain of the winner - gain of the loser)).

    Args:
        gains: by how much the error of each one's velocity exceeds the old policy's.
        rewards: 1 of the winner and 0 of the loser, in either place; alike, nothing is learnt.
        beta: inverse temperature.
    """
    margin = (rewards[:, 0] - rewards[:, 1]) * (gains[:, 0] - gains[:, 1])
    return -logsigmoid(-beta / 2 * margin)


# ---- rewards -----------------------------------------------------------------------------------


def group_advantages(
    rewards: Mapping[str, Float[Tensor, "g k"]], weights: Mapping[str, float]
) -> Float[Tensor, "g k"]:
    """How much better each image is than its group, in standard deviations.

    Of every reward the group's mean is taken away, and the rest divided by its standard deviation
    over all groups, so that neither unit nor zero of a reward matters; then they are added up. A
    group that is all alike has advantages of 0.

    Args:
        rewards: by name, of so many groups of images.
        weights: by name; the sum of those that are not 0 need not be 1.
    """
    total = torch.zeros_like(next(iter(rewards.values())), dtype=torch.float64)
    for name, of_groups in rewards.items():
        if weights[name]:
            centred = of_groups.double() - of_groups.double().mean(1, keepdim=True)
            spread = centred.square().mean().sqrt()
            total += weights[name] * centred / (spread + LEAST_SPREAD)
    return total


def as_rewards(advantages: Float[Tensor, "g k"], *, clip: float) -> Float[Tensor, "g k"]:
    """Advantages as DiffusionNFT's r in [0, 1]: 1/2 is the group's mean."""
    return advantages.clamp(-clip, clip) / (2 * clip) + 0.5
