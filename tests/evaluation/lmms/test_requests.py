"""What lmms-eval asks for, read without it: settings, stop strings, messages, batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ConfigError, PromptError
from janusflow.evaluation.lmms.requests import (
    Generation,
    Request,
    answer_requests,
    as_conversation,
    read_generation,
)
from janusflow.inference.answering.decoding import AnsweringSettings

GREEDY = AnsweringSettings(max_new_tokens=16)


@pytest.mark.parametrize(
    ("kwargs", "settings", "stop_strings"),
    [
        ({}, AnsweringSettings(), ()),
        ({"until": None, "do_sample": False}, AnsweringSettings(), ()),
        ({"until": ["\n\n", ""], "max_new_tokens": 16}, GREEDY, ("\n\n",)),
        ({"until": "ASSISTANT:", "max_new_tokens": 16}, GREEDY, ("ASSISTANT:",)),
        # MM-Vet's there: greedy all the same.
        ({"temperature": 0.2, "do_sample": False, "max_new_tokens": 16}, GREEDY, ()),
        ({"temperature": 0.2, "top_p": None}, AnsweringSettings(temperature=0.2), ()),
        (
            {"temperature": 1, "top_p": 0.9, "do_sample": True, "num_beams": 1},
            AnsweringSettings(temperature=1.0, top_p=0.9),
            (),
        ),
        ({"image_aspect_ratio": "original", "num_beams": None}, AnsweringSettings(), ()),
    ],
)
def test_a_tasks_settings_are_ours(
    kwargs: dict[str, Any], settings: AnsweringSettings, stop_strings: tuple[str, ...]
):
    assert read_generation(kwargs) == Generation(settings=settings, stop_strings=stop_strings)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"num_beams": 4}, "num_beams=4"), ({"temperature": -1.0}, "temperature=-1.0")],
)
def test_what_cannot_be_done_is_refused(kwargs: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        read_generation(kwargs)


def test_an_answer_ends_before_the_first_stop_string():
    generation = Generation(settings=GREEDY, stop_strings=("\n\n", "User:"))
    assert generation.cut("A dog. User: and\n\nthen") == "A dog."
    assert generation.cut("A dog.\nIt sits.") == "A dog.\nIt sits."


def test_messages_keep_their_order_and_get_a_system_prompt_unless_they_have_one():
    image = Image.new("RGB", (4, 4))
    text = {"type": "text", "text": "What is this?"}
    user = {"role": "user", "content": [text, {"type": "image", "url": image}, text]}
    ours = {"role": "user", "content": [text, {"type": "image", "image": image}, text]}
    system = {"role": "system", "content": ""}
    assert as_conversation([user], system_prompt="") == [system, ours]
    assert as_conversation([user], system_prompt=None) == [ours]
    own = {"role": "system", "content": [text]}
    assert as_conversation([own, user], system_prompt="") == [own, ours]


def test_a_video_is_refused():
    message = {"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}
    with pytest.raises(PromptError, match="got a video"):
        as_conversation([message], system_prompt="")


@dataclass
class Recording:
    """Answers with the question and what decides a draw."""

    sizes: list[int] = field(default_factory=list)

    def generate(self, prompt: Sequence[str], **_: Any) -> list[Image.Image]:
        raise AssertionError(prompt)

    def answer(
        self, conversations: Sequence[Sequence[Any]], *, seed: int, temperature: float, **_: Any
    ) -> list[str]:
        self.sizes.append(len(conversations))
        return [f"{c[0]['content']}/{temperature}/{seed + i}" for i, c in enumerate(conversations)]


def requests() -> list[Request]:
    drawn = Generation(settings=AnsweringSettings(temperature=1.0))
    greedy = Generation(settings=GREEDY, stop_strings=("/",))
    return [
        (lambda i=i: [{"role": "user", "content": f"q{i}"}], drawn if i % 3 else greedy)
        for i in range(8)
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_answers_are_in_order_and_do_not_depend_on_the_batch_size(batch_size: int):
    model = Recording()
    assert answer_requests(model, requests(), batch_size=batch_size) == [
        "q0",
        "q1/1.0/0",
        "q2/1.0/1",
        "q3",
        "q4/1.0/2",
        "q5/1.0/3",
        "q6",
        "q7/1.0/4",
    ]
    assert max(model.sizes) == min(batch_size, 5)
