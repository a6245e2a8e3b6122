"""Rounds of preference learning: draw prompts with the old policy, judge, and make batches of it.

A round is a function of seed, round number and the old policy, which checkpoints keep. So a run
that resumes within a round draws it again as it was. How to draw and judge is handed over by the
command line: training does not know inference.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from janusflow.config.errors import ConfigError, TrainingError
from janusflow.config.files import append_line, drop_lines_from
from janusflow.config.learning.preference import Method, PreferenceConfig
from janusflow.config.recipes import StageRecipe
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.samples import GenerationSample
from janusflow.data.sources.base import BadRows, WeightedSource, build_sample
from janusflow.data.sources.order import shuffled
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.engine.distributed import (
    gather_to_all,
    is_main_process,
    microbatches_of_rank,
    num_processes,
    rank,
)
from janusflow.training.objectives.preference import (
    PreferenceObjective,
    as_rewards,
    group_advantages,
)
from janusflow.training.report.previews import contact_sheet
from janusflow.training.report.trackers import Tracker

ROUNDS, SHEETS = "rounds.jsonl", "rounds"
"""A line a round, and now and then the images of its first prompt."""
SEEDS = 2**32
"""Images are drawn with seeds below this, as people can type them again."""
PROMPTS, DRAWINGS, ORDER, POINTS = range(4)
"""What a run's seed is drawn for, so that no two uses of it are alike."""
NO_SPREAD = 1e-6
"""Advantages of a group that differ by less say nothing."""


@runtime_checkable
class Rollouts(Protocol):
    """Draws and judges with a model in training."""

    def draw(
        self,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        config: PreferenceConfig,
        *,
        prompt: str,
        seeds: Sequence[int],
    ) -> tuple[Float[Tensor, "k c y x"], list[Image.Image]]:
        """A group: an image of the prompt for each seed, and the latents they are decoded from."""
        ...

    def judge(
        self,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        config: PreferenceConfig,
        *,
        prompt: str,
        images: Sequence[Image.Image],
    ) -> dict[str, list[float]]:
        """What every reward of the configuration says of each image, by the rewards' names."""
        ...


class Choice(NamedTuple):
    """A drawing of a round: whose prompt, which of that prompt's, and its worth in [0, 1]."""

    prompt: int
    image: int
    reward: float


@dataclass(frozen=True, kw_only=True)
class Round:
    """What was drawn, in all processes."""

    prompts: Sequence[str]
    drawn_from: Sequence[Sequence[str]]
    """For every image the plan that it was drawn from, or the prompt."""
    latents: Float[Tensor, "g k c y x"]
    rewards: Mapping[str, Float[Tensor, "g k"]]
    advantages: Float[Tensor, "g k"]

    def units(self, config: PreferenceConfig) -> list[list[Choice]]:
        """What is learnt together: each drawing, or the best with the worst, or the best alone."""
        if config.method == "nft":
            worth = as_rewards(self.advantages, clip=config.advantage_clip).tolist()
            return [[Choice(g, k, r)] for g, of in enumerate(worth) for k, r in enumerate(of)]
        if config.method == "distill":
            count = config.images_per_prompt
            return [[Choice(g, k, 1.0)] for g in range(len(self.prompts)) for k in range(count)]
        groups = enumerate(self.advantages.tolist())
        return [best_and_worst(g, advantages, config.method) for g, advantages in groups]

    def numbers(self) -> dict[str, float]:
        """For the log: the rewards' means, and how many groups say nothing."""
        means = {f"reward.{name}": float(of.mean()) for name, of in self.rewards.items()}
        spread = self.advantages.amax(1) - self.advantages.amin(1)
        return means | {"groups_alike": float((spread < NO_SPREAD).float().mean())}


def best_and_worst(group: int, advantages: Sequence[float], method: Method) -> list[Choice]:
    """The first of the best, for dpo with the first of the worst; both 1/2 if all are alike."""
    most, least = max(advantages), min(advantages)
    best, worst = advantages.index(most), advantages.index(least)
    if method == "sft":
        return [Choice(group, best, 1.0)]
    if most - least < NO_SPREAD:
        return [Choice(group, best, 0.5), Choice(group, worst, 0.5)]
    return [Choice(group, best, 1.0), Choice(group, worst, 0.0)]


@dataclass(kw_only=True)
class Rounds:
    """A stage's batches where it learns from its own drawings.

    Raises:
        ConfigError: the recipe names no source of prompts.
    """

    recipe: StageRecipe
    objective: PreferenceObjective
    processor: JanusFlowProcessor
    collate: Collator
    prompts: Sequence[WeightedSource]
    rollouts: Rollouts
    bad: BadRows
    mixed: Callable[[int], Iterator[list[TrainBatch]]]
    """The stage's other batches from a step on, for `with_mixture`."""
    trackers: Sequence[Tracker] = ()
    log: Path = field(init=False)
    config: PreferenceConfig = field(init=False)

    def __post_init__(self) -> None:
        self.log, self.config = self.recipe.run / ROUNDS, self.objective.preference
        if not self.prompts:
            raise ConfigError(
                f"{self.recipe.run}: preference without data.generation: name a source of prompts."
            )

    def batches(self, step: int) -> Iterator[list[TrainBatch]]:
        """This process's micro-batches of every step from this one on."""
        steps = self.config.steps_per_round
        if is_main_process():
            drop_lines_from(self.log, step=step - step % steps)
        others = self.mixed(step) if self.config.with_mixture else repeat(list[TrainBatch]())
        drawn = None
        while True:
            if step % steps == 0:
                self.objective.follow(step // steps)
            if step % steps == 0 or drawn is None:
                drawn = self.draw(step // steps)
            yield [*self.of_step(drawn, step), *next(others)]
            step += 1

    def draw(self, number: int) -> Round:
        """Draw and judge a round, each process its share of the prompts.

        Raises:
            TrainingError: a reward is no finite number.
        """
        began, config, objective = time.perf_counter(), self.config, self.objective
        own = range(rank(), config.prompts_per_round, num_processes())
        parts: Any = (self.processor, objective.vae, config)
        prompts = [self._prompt(number * config.prompts_per_round + each) for each in own]
        with torch.random.fork_rng(devices=[]):
            with objective.whole_model(objective.old) as model:
                drawn = [
                    self.rollouts.draw(
                        model, *parts, prompt=prompt, seeds=self._drawing_seeds(number, each)
                    )
                    for each, prompt in zip(own, prompts, strict=True)
                ]
            with objective.whole_model(objective.reference) as model:
                judged = [
                    self.rollouts.judge(model, *parts, prompt=prompt, images=images)
                    for prompt, (_, images) in zip(prompts, drawn, strict=True)
                ]
        if is_main_process() and drawn and self._is_shown(number):
            (self.recipe.run / SHEETS).mkdir(exist_ok=True)
            contact_sheet(drawn[0][1]).save(self.recipe.run / SHEETS / f"{number:05d}.png")
        found = gather_to_all(
            [
                (prompt, _drawn_from(prompt, images), latents.float().cpu(), said)
                for prompt, (latents, images), said in zip(prompts, drawn, judged, strict=True)
            ]
        )
        groups = [
            found[each % num_processes()][each // num_processes()]
            for each in range(config.prompts_per_round)
        ]
        finished = _round_of(groups, config)
        self._tell(number, finished, seconds=time.perf_counter() - began)
        return finished

    def of_step(self, drawn: Round, step: int) -> list[TrainBatch]:
        """This process's share of a step; noise and times are new ones every step."""
        units, count = drawn.units(self.config), self.config.units_per_step
        number, place = divmod(step, self.config.steps_per_round)
        order = int(self._random(ORDER, number).integers(2**63))
        batches = []
        for part in microbatches_of_rank(range(count), self.recipe.loop):
            built, planned = [], []
            for each in part:
                seed = int(self._random(POINTS, step, each).integers(2**63))
                unit = units[shuffled(place * count + each, len(units), seed=order)]
                samples = [_sample(drawn, choice, seed) for choice in unit]
                built += map(self.collate.build, samples)
                if self.config.method == "distill":
                    texts = [drawn.drawn_from[choice.prompt][choice.image] for choice in unit]
                    read = [replace(a, prompt=b) for a, b in zip(samples, texts, strict=True)]
                    planned += map(self.collate.build, read)
            batch = self.objective.compared(
                self.collate.pack(built), planned=self.collate.pack(planned) if planned else None
            )
            batches.append(replace(batch, batch_stats=batch.batch_stats | self.bad.take_counts()))
        return batches

    def _random(self, *of: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.loop.seed, *of))

    def _drawing_seeds(self, number: int, prompt: int) -> list[int]:
        count = self.config.images_per_prompt
        return self._random(DRAWINGS, number, prompt).integers(SEEDS, size=count).tolist()

    def _is_shown(self, number: int) -> bool:
        """Whether a multiple of `log.samples_every` lies among a round's steps."""
        every, steps = self.recipe.log.samples_every, self.config.steps_per_round
        return every > 0 and -(number * steps) % every < steps

    def _prompt(self, ordinal: int) -> str:
        sample = build_sample(
            self.prompts,
            ordinal,
            seed=self.recipe.loop.seed,
            rng=self._random(PROMPTS, ordinal),
            build=lambda sample: sample,
            bad=self.bad,
        )
        assert isinstance(sample, GenerationSample)
        if sample.images:
            raise ConfigError(
                f"{self.recipe.run}: preference of a source with redraw: it needs prompts in words."
            )
        return sample.prompt

    def _tell(self, number: int, drawn: Round, *, seconds: float) -> None:
        if not is_main_process():
            return
        step, numbers = number * self.config.steps_per_round, drawn.numbers()
        place = {"round": number, "step": step, "seconds": seconds}
        append_line(self.log, {**place, **numbers, "first_prompt": drawn.prompts[0]})
        told = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        tqdm.write(f"round {number}: {told}, {seconds:.0f} s", file=sys.stderr)
        for tracker in self.trackers:
            tracker.log(step, numbers)


def _round_of(
    groups: Sequence[tuple[str, list[str], Tensor, dict[str, list[float]]]],
    config: PreferenceConfig,
) -> Round:
    rewards = {}
    for reward in config.rewards:
        for prompt, *_, said in groups:
            for value in said[reward.name]:
                if not math.isfinite(value):
                    raise TrainingError(
                        f"reward {reward.name} is {value} for an image of {prompt!r:.60}: wanted a "
                        "finite number. Mend the function or leave it out."
                    )
        rewards[reward.name] = torch.tensor(
            [said[reward.name] for *_, said in groups], dtype=torch.float64
        )
    return Round(
        prompts=[prompt for prompt, *_ in groups],
        drawn_from=[texts for _, texts, *_ in groups],
        latents=torch.stack([latents for _, _, latents, _ in groups]),
        rewards=rewards,
        advantages=group_advantages(rewards, {each.name: each.weight for each in config.rewards}),
    )


def _drawn_from(prompt: str, images: Sequence[Image.Image]) -> list[str]:
    return [image.info.get("plan") or prompt for image in images]


def _sample(drawn: Round, choice: Choice, seed: int) -> GenerationSample:
    return GenerationSample(
        prompt=drawn.prompts[choice.prompt],
        pixel_values=None,
        latent=drawn.latents[choice.prompt, choice.image],
        reward=choice.reward,
        seed=seed,
    )
