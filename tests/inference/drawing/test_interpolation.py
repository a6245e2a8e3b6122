"""From one drawing to another: ends, middles, and the work."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.inference.drawing.interpolation import interpolate
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

ONE, OTHER = "a red circle", "파란 별 두 개"
IMAGE_TOKENS = 17


def off(a: Image.Image, b: Image.Image) -> int:
    """Largest difference of any channel of any pixel, in levels."""
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize(
    ("prompts", "seeds"), [((ONE, OTHER), (1, 1)), ((ONE, ONE), (1, 2)), ((ONE, OTHER), (1, 2))]
)
def test_the_ends_are_the_drawings_themselves(
    jf: JanusFlow, prompts: tuple[str, str], seeds: tuple[int, int], guidance: float
):
    settings = DrawingSettings(steps=2, guidance=guidance)
    way = interpolate(jf, prompts, seeds, frames=3, settings=settings)
    ends = [
        jf.generate(prompt, seed=seed, steps=2, guidance=guidance)[0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert off(way[0], ends[0]) <= 1
    assert off(way[2], ends[1]) <= 1
    assert min(off(way[1], end) for end in ends) > 5


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["auto", "never"])
def test_the_ends_are_drawn_from_the_plans_of_their_own_seeds(
    jf: JanusFlow, plan: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jf.model.config, "plans", True)
    settings = DrawingSettings(steps=2, plan=plan)
    way = interpolate(jf, (ONE, ONE), (1, 2), frames=2, settings=settings)
    ends = [jf.generate(ONE, seed=seed, steps=2, plan=plan)[0] for seed in (1, 2)]
    unplanned = [jf.generate(ONE, seed=seed, steps=2, plan="never")[0] for seed in (1, 2)]
    assert max(map(off, way, ends)) <= 1
    assert (max(map(off, way, unplanned)) <= 1) == (plan == "never")


def test_the_batch_size_changes_no_image(jf: JanusFlow):
    settings = DrawingSettings(steps=2)
    together, alone = (
        interpolate(jf, (ONE, OTHER), (1, 2), frames=4, settings=settings, batch_size=size)
        for size in (4, 1)
    )
    assert max(map(off, together, alone)) <= 1


@pytest.mark.parametrize(("prompts", "rows"), [((ONE, OTHER), 4), ((ONE, ONE), 2)])
def test_two_prompts_cost_twice_one_and_are_read_once(
    jf: JanusFlow, llm_count: Any, prompts: tuple[str, str], rows: int
):
    interpolate(jf, prompts, (1, 2), frames=5, settings=DrawingSettings(steps=3))
    read = jf.processor.prompts(list(dict.fromkeys(prompts)))["input_ids"].numel()
    assert llm_count.calls == 1 + 3
    assert llm_count.positions == 2 * read + 3 * 5 * rows * IMAGE_TOKENS


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": (1, 1), "prompts": (ONE, ONE)}, "seed 1 to the same"),
        ({"frames": 1}, "frames=1"),
        ({"settings": DrawingSettings(best_of=2)}, "best_of=2"),
        ({"settings": DrawingSettings(reuse=0.1)}, r"reuse=0\.1"),
        ({"settings": DrawingSettings(plan="always")}, "has not learnt to plan"),
    ],
)
def test_a_way_to_nowhere_is_refused(jf: JanusFlow, wrong: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        interpolate(jf, **{"prompts": (ONE, OTHER), "seeds": (1, 2), **wrong})
