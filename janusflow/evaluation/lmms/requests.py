"""What lmms-eval asks for, in this project's terms: conversations, settings, stop strings.

Knows the library's dicts and not the library, so that all of it is tested where lmms-eval is not
installed. `lmms.py` is the plug-in.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tqdm import tqdm

from janusflow.config.errors import ConfigError, PromptError
from janusflow.inference.answering.chat import Message
from janusflow.inference.answering.decoding import AnsweringSettings

Request: TypeAlias = tuple[Callable[[], Sequence[Message]], "Generation"]
"""Opens a conversation, images included, when its turn has come; and how to answer it."""
NO_STOP_STRINGS = (None, [])


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How a request is answered; those that agree are answered side by side."""

    settings: AnsweringSettings
    stop_strings: tuple[str, ...] = ()

    def cut(self, answer: str) -> str:
        """The answer up to the first stop string in it."""
        ends = [answer.index(stop) for stop in self.stop_strings if stop in answer]
        return answer[: min(ends, default=len(answer))].strip()


def read_generation(kwargs: Mapping[str, Any]) -> Generation:
    """A task's `generation_kwargs`; those that other models know (image_aspect_ratio) are let be.

    A temperature counts unless the task says `do_sample: false`, as several do beside it.

    Raises:
        ConfigError: it asks for a beam search, or a value is out of range.
    """
    if (kwargs.get("num_beams") or 1) != 1:
        raise ConfigError(
            f"num_beams={kwargs['num_beams']}: answers are greedy or drawn, there is no beam "
            "search. Run with --gen_kwargs num_beams=1."
        )
    is_drawn = kwargs.get("do_sample", True)
    until = kwargs.get("until")
    stops = [] if until in NO_STOP_STRINGS else [until] if isinstance(until, str) else until
    return Generation(
        settings=AnsweringSettings(
            max_new_tokens=kwargs.get("max_new_tokens") or AnsweringSettings.max_new_tokens,
            temperature=float(kwargs.get("temperature") or 0) if is_drawn else 0.0,
            top_p=float(kwargs.get("top_p") or AnsweringSettings.top_p),
        ),
        stop_strings=tuple(stop for stop in stops if stop),
    )


def as_conversation(
    messages: Sequence[Mapping[str, Any]], *, system_prompt: str | None
) -> list[Message]:
    """lmms-eval's chat messages in the shape that `JanusFlow.answer` takes, images in place.

    Args:
        messages: their contents are lists of {"type": "text", "text": ...} and {"type": "image",
            "url": image}.
        system_prompt: used where the messages begin with none; None is the model's own.

    Raises:
        PromptError: a message holds something else, such as a video.
    """
    converted: list[Message] = [
        {"role": message["role"], "content": [_as_part(part) for part in message["content"]]}
        for message in messages
    ]
    has_own = bool(converted) and converted[0]["role"] == "system"
    if system_prompt is None or has_own:
        return converted
    return [{"role": "system", "content": system_prompt}, *converted]


def answer_requests(
    model: Any, requests: Sequence[Request], *, batch_size: int, is_quiet: bool = False
) -> list[str]:
    """Answer all requests, those with equal settings side by side.

    An answer that is drawn depends on the place of its request among those with its settings, never
    on the batch size.
    """
    answers = [""] * len(requests)
    groups: dict[Generation, list[int]] = defaultdict(list)
    for index, (_, generation) in enumerate(requests):
        groups[generation].append(index)
    with tqdm(total=len(requests), desc="answering", disable=is_quiet) as bar:
        for generation, indices in groups.items():
            settings = generation.settings
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                texts = model.answer(
                    [requests[index][0]() for index in batch],
                    max_new_tokens=settings.max_new_tokens,
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    seed=start,
                )
                for index, text in zip(batch, texts, strict=True):
                    answers[index] = generation.cut(text)
                bar.update(len(batch))
    return answers


def _as_part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part["type"] == "text":
        return part
    if part["type"] != "image":
        raise PromptError(
            f"got a {part['type']} in a message: JanusFlow sees images only. Leave the task out."
        )
    return {"type": "image", "image": part["url"]}
