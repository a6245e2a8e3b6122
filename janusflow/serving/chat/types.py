"""The body of `/v1/chat/completions`, as OpenAI defines it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from janusflow.inference.answering.decoding import AnsweringSettings, stops_of
from janusflow.serving.bodies import Body
from janusflow.serving.errors import ApiError

Stop = Annotated[str, Field(min_length=1)]


class ImageUrl(BaseModel):
    """Where an image is; other fields (`detail`) change nothing."""

    model_config = ConfigDict(extra="allow")
    url: str = Field(description="A data: URI; a web address if the server allows its host.")


class Part(BaseModel):
    """A text or an image of a message."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(description="text or image_url")
    text: str | None = None
    image_url: ImageUrl | str | None = None


class Message(BaseModel):
    """One message; objects that a client library returned are read as they are."""

    model_config = ConfigDict(extra="allow")
    role: str = Field(description="user, assistant, system or developer")
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool = False


class ChatBody(Body):
    """A conversation whose next turn is wanted."""

    refused: ClassVar[Mapping[str, Sequence[Any]]] = {
        "audio": (),
        "best_of": (1,),
        "chat_template": (),
        "extra_body": ({},),
        "frequency_penalty": (0,),
        "function_call": ("none",),
        "functions": ([],),
        "guided_json": (),
        "ignore_eos": (False,),
        "length_penalty": (1,),
        "logit_bias": ({},),
        "min_p": (0,),
        "min_tokens": (0,),
        "modalities": (["text"],),
        "prediction": (),
        "presence_penalty": (0,),
        "reasoning_effort": ("none",),
        "repetition_penalty": (1,),
        "response_format": ({"type": "text"},),
        "structured_outputs": (),
        "tool_choice": ("none",),
        "tools": ([],),
        "top_k": (0, -1),
        "use_beam_search": (False,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    accepted: ClassVar[Sequence[str]] = (
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    )

    model: str | None = None
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1)
    seed: int | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def settings(self) -> AnsweringSettings:
        """How tokens are chosen; what is not said is as in `JanusFlow.ask`."""
        given = {
            "max_new_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": None if self.stop is None else stops_of(self.stop),
            "logprobs": self.top_logprobs or 0 if self.logprobs else None,
        }
        return AnsweringSettings(**{k: v for k, v in given.items() if v is not None})

    @model_validator(mode="after")
    def check_logprobs(self) -> "ChatBody":
        """Alternatives are told with the tokens they are for."""
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(
                400,
                f"top_logprobs={self.top_logprobs} without logprobs: set logprobs to true.",
                param="top_logprobs",
            )
        return self

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with its numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage
