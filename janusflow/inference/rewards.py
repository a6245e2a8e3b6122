"""What images are worth to the model that drew them: its own understanding as a judge.

A reward is `function(jf, prompt, images, **options)`: a number an image, more is better. Numbers of
one prompt are compared with one another only.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.config.learning.preference import RewardConfig
from janusflow.inference.functions import load_function
from janusflow.inference.pipeline import JanusFlow

Reward: TypeAlias = Callable[..., Sequence[float]]
DESCRIBE = "Describe the image in detail."
SHOWS = "Does the picture show {prompt}?"


def likelihood(
    jf: JanusFlow, prompt: str, images: Sequence[Image.Image], *, question: str = DESCRIBE
) -> list[float]:
    """Log-likelihood of the prompt as an answer about each image, in nats (GvU, 2603.06043)."""
    return jf.log_likelihoods([([image], question) for image in images], [prompt] * len(images))


def answers(
    jf: JanusFlow, prompt: str, images: Sequence[Image.Image], *, question: str = SHOWS
) -> list[float]:
    """How much likelier yes is than no, in nats, when asked whether an image shows the prompt.

    It orders images as best-of-N's `chance_of_yes` does, and does not saturate.
    """
    text = question.format(prompt=prompt.strip().rstrip(".?!"))
    asked, count = [([image], text) for image in images], len(images)
    found = jf.log_likelihoods(asked * 2, ["yes"] * count + ["no"] * count)
    return [yes - no for yes, no in zip(found[:count], found[count:], strict=True)]


REWARDS: dict[str, Reward] = {"likelihood": likelihood, "answers": answers}


def find_reward(name: str) -> Reward:
    """The reward of a name, or the function that `module:function` names.

    Raises:
        ConfigError: there is none.
    """
    known = f"rewards ({', '.join(REWARDS)}, or a function)"
    return REWARDS[name] if name in REWARDS else load_function(name, option=known)


def rewards_of(
    jf: JanusFlow, prompt: str, images: Sequence[Image.Image], rewards: Sequence[RewardConfig]
) -> dict[str, list[float]]:
    """What each of some rewards says of one prompt's images, by its name.

    Raises:
        ConfigError: a reward is unknown, or gives another number of values.
    """
    said = {}
    for each in rewards:
        values = [*map(float, find_reward(each.name)(jf, prompt, images, **each.options))]
        if len(values) != len(images):
            raise ConfigError(
                f"reward {each.name} gave {len(values)} values for {len(images)} images: let it "
                "give one an image."
            )
        said[each.name] = values
    return said
