"""Images as they form, as OpenAI's own client reads them."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from janusflow.inference.batching.image_batcher import DrawingRequest
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.images import events
from janusflow.serving.images.drawing import Progress, StepOfImage
from janusflow.serving.images.types import GenerationBody

sys.path.insert(0, str(Path(__file__).parents[2]))

from serving_images import (
    STEPS,
    draw,
    opened,
    same,
)


def test_partial_images_come_at_even_times_and_then_the_image(client: OpenAI):
    told = list(draw(client, stream=True, partial_images=3, extra_body={"steps": 8}))
    kinds = [each.type for each in told]
    assert kinds == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [each.partial_image_index for each in told[:-1]] == [0, 1, 2]
    assert [each.t for each in told[:-1]] == pytest.approx([0.25, 0.5, 0.75])
    assert told[-1].b64_json == draw(client, extra_body={"steps": 8}).data[0].b64_json
    assert told[-1].usage.output_tokens > 0


def test_without_partial_images_only_the_image_comes(client: OpenAI):
    told = list(draw(client, stream=True))
    assert [each.type for each in told] == ["image_generation.completed"]


def test_a_preview_is_where_its_step_would_end(client: OpenAI, jf: JanusFlow):
    previews = []
    jf.generate("a star", steps=4, seed=7, on_step=lambda step: previews.append(step.preview[0]))
    for each in draw(client, stream=True, extra_body={"preview_every": 1}):
        if each.type == "image_generation.partial_image":
            assert same(opened(each.b64_json), previews[each.step - 1])
            assert each.steps == 4


def test_every_image_of_a_stream_ends_with_its_own_event(client: OpenAI):
    told = list(draw(client, stream=True, n=3, partial_images=1))
    done = [each for each in told if each.type == "image_generation.completed"]
    assert {each.image_index: each.seed for each in done} == {0: 7, 1: 8, 2: 9}


def test_what_is_wrong_is_told_before_the_stream_begins(client: OpenAI):
    with pytest.raises(openai.BadRequestError):
        list(draw(client, stream=True, extra_body={"solver": "eulr"}))


def test_the_asynchronous_client_streams_two_at_once(address: str):
    async def both() -> list[list[str]]:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as client:

            async def one() -> list[str]:
                stream = await client.images.generate(
                    prompt="a star", stream=True, partial_images=1, extra_body=STEPS
                )
                return [each.type async for each in stream]

            return await asyncio.gather(one(), one())

    first, second = asyncio.run(both())
    assert first == second
    assert first[-1] == "image_generation.completed"


def test_previews_come_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch):
    """Of steps 50 ms apart every second one, though each is asked for."""
    now = [100.0]
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=lambda: now[0]))
    progress, running = Mock(spec=Progress, newest=-1), Mock(spec=DrawingRequest)
    running.done.return_value = False
    wanted, shown = events.Wanted(GenerationBody(prompt="a star", preview_every=1), progress), []
    for index in range(6):
        progress.newest, now[0] = index, 100.0 + 0.0501 * index
        step = SimpleNamespace(index=index, t=0.0)
        shown.append(wanted(Mock(spec=StepOfImage, step=step), running))
    assert shown == [True, False, True, False, True, False]
