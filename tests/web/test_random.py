"""A seed means in the browser what it means to torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from janusflow.flow import sample_noise
from janusflow.inference.answering.decoding import AnsweringSettings, choose_tokens
from janusflow.inference.drawing.planning import HOW

SEEDS = [0, 1, 7, 2**31, 2**32 - 1, 2**32 + 5, 2**53 + 3, 2**62 - 1, *range(100, 140)]
RANDOM = (Path(__file__).parents[2] / "docs" / "web" / "src" / "random.js").as_uri()
Node = Callable[..., Any]


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 2, 2), (4, 3, 5)])
def test_noise_is_that_of_the_seed(node: Node, shape: tuple[int, int, int]):
    """To 2e-6: logarithm and cosine are rounded otherwise. The last shape is no whole block."""
    expected = sample_noise(shape, seeds=SEEDS)
    data = {"seeds": list(map(str, SEEDS)), "length": expected[0].numel()}
    found = node(
        "random.js",
        "data.seeds.map((s) => [...new m.Generator(BigInt(s)).normal(data.length)])",
        data,
    )
    apart = (torch.tensor(found).reshape(expected.shape) - expected).abs()
    assert apart.max() < 2e-6


def test_fewer_numbers_than_a_block_are_refused(node: Node):
    attempt = "(() => { try { new m.Generator(0).normal(15); } catch (e) { return e.name; } })()"
    assert node("random.js", attempt, None) == "RangeError"


def test_exponential_numbers_are_torchs_to_the_bit(node: Node):
    found = node(
        "random.js",
        """data.map((s) => {
            const g = new m.Generator(BigInt(s));
            return Array.from({ length: 700 }, () => g.exponential());
        })""",
        list(map(str, SEEDS)),
    )
    for seed, numbers in zip(SEEDS, found, strict=True):
        generator = torch.Generator().manual_seed(seed)
        assert torch.tensor(numbers).equal(torch.empty(700).exponential_(generator=generator))


@pytest.mark.parametrize(
    "settings",
    [
        HOW,
        AnsweringSettings(temperature=1.0, top_p=1.0),
        AnsweringSettings(temperature=0.8, top_p=0.3),
        AnsweringSettings(temperature=0.0),
    ],
    ids=["plans", "all", "few", "greedy"],
)
def test_tokens_are_drawn_as_the_decoder_draws_them(node: Node, settings: AnsweringSettings):
    logits = torch.randn(40, 1280, generator=torch.Generator().manual_seed(3)) * 4
    seeds = list(range(40))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    expected = choose_tokens(logits, [settings] * 40, generators)
    how = {"temperature": settings.temperature, "top_p": settings.top_p}
    found = node(
        "choose.js",
        """(async () => {
            const { Generator } = await import(data.random);
            return data.logits.map((row, i) =>
                m.chooseToken(Float32Array.from(row), data.how, new Generator(data.seeds[i])));
        })()""",
        {"logits": logits.tolist(), "seeds": seeds, "how": how, "random": RANDOM},
    )
    assert found == expected
    assert len(set(expected)) > 10
