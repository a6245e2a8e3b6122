"""Answers that grow side by side, a token each at every step: the one token loop there is.

`jf.ask` puts all its questions in at once, `jf.stream` one; a scheduler lets questions join and
leave between tokens. An answer depends on its conversation and seed, never on its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import BatchFeature

from janusflow.config.errors import NotFiniteError, is_out_of_memory
from janusflow.inference.answering.decoding import (
    NOT_FINITE,
    AnsweringSettings,
    TokenLogprobs,
    choose_tokens,
    logprobs_of,
    read_tokens,
    require_context,
)
from janusflow.inference.batching.requests import Handle, failing
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, join
from janusflow.processing.processor import JanusFlowProcessor, MessageLike


@dataclass(eq=False, repr=False, kw_only=True)
class QuestionRequest(Handle[str]):
    """A conversation whose next turn is wanted: the future of its text."""

    messages: Sequence[MessageLike] | str
    """Or a text in the form of a prompt, as planning asks."""
    settings: AnsweringSettings
    seed: int
    allow_paths: bool = True
    on_piece: Callable[[str], None] | None = None
    """Called with the text as it comes: whole characters only."""
    adapters: tuple[tuple[str, float], ...] = ()
    """Of a scheduler: which are on for it (batching/adapter_switch.py)."""

    def __post_init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(self.seed)
        self.num_prompt_tokens = 0
        """Of the conversation, those of its images included; known once it is read."""
        self.num_reused_tokens = 0
        """Of those, how many a scheduler had read before."""
        self.token_ids: list[int] = []
        """Of the answer so far, the text of `stop` included."""
        self.logprobs: list[TokenLogprobs] = []
        """Of every token so far, if the settings ask for them."""
        self.finish_reason: Literal["stop", "length"] | None = None
        """stop: at the model's end token or a text of `stop`; length: at `max_tokens`."""
        self.max_tokens = self.settings.max_new_tokens
        """Fewer where the model's context ends before."""
        self.stream: TextStream | None = None
        """For `on_piece` and `stop`."""


class TextStream:
    """An answer's text as its tokens come, without the space before its first word.

    The library's stream holds back a token's text until it is whole characters (a Korean syllable
    may be three tokens). The template ends in "Assistant:", so answers begin with a space.

    Args:
        processor: decodes the tokens.
        stop: the text ends before the first of these; what may be the beginning of one is held
            back.
    """

    def __init__(self, processor: JanusFlowProcessor, stop: Sequence[str] = ()) -> None:
        self._processor = processor
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = stop
        self._decoded = ""
        self.text = ""
        """What was given so far."""
        self.is_stopped = False
        """Whether one of `stop` has come: no text follows."""

    def piece(self, token_ids: Sequence[int], *, is_last: bool) -> str:
        """The text that is certain now and was not before; at the end broken characters too.

        Args:
            token_ids: of the answer so far: one more than before, or as many if it has ended.
            is_last: whether no more will come.
        """
        if is_last:
            self._decoded = self._processor.decode(token_ids)
        else:
            backend = self._processor.tokenizer.backend_tokenizer
            self._decoded += self._stream.step(backend, token_ids[-1]) or ""
        shown, start = self._decoded.lstrip(), len(self.text)
        if self._stop:
            shown = self._until_stop(shown, start, is_last=is_last)
        self.text = shown
        return shown[start:]

    def _until_stop(self, shown: str, start: int, *, is_last: bool) -> str:
        """The text up to the first of `stop`, or to what may become one."""
        found = [place for stop in self._stop if (place := shown.find(stop, start)) >= 0]
        if found:
            self.is_stopped = True
            return shown[: min(found)]
        if is_last:
            return shown
        longest = max(map(len, self._stop)) - 1
        for place in range(max(start, len(shown) - longest), len(shown)):
            if any(stop.startswith(shown[place:]) for stop in self._stop):
                return shown[:place]
        return shown


@dataclass(eq=False, repr=False)
class AnswerBatch:
    """Answers that share forwards: they may join and leave between tokens."""

    model: JanusFlowForConditionalGeneration
    processor: JanusFlowProcessor
    answers: list[QuestionRequest] = field(default_factory=list, init=False)
    num_written: int = field(default=0, init=False)
    """Tokens so far, of answers that are done too."""
    _logits: Float[Tensor, "b v"] | None = field(default=None, init=False)
    """Of every answer's next token."""
    _cache: PrefixCache | None = field(default=None, init=False)
    """A row for each answer: what was read of its conversation."""
    _tokens: Int[Tensor, "b 1"] | None = field(default=None, init=False)
    """Chosen, and not read yet."""

    def add(
        self,
        inputs: BatchFeature,
        requests: Sequence[QuestionRequest],
        *,
        read: Callable[[BatchFeature], tuple[Tensor, PrefixCache]] | None = None,
    ) -> None:
        """Read conversations: the logits of their answers' first tokens.

        Args:
            inputs: `JanusFlow.prepare_inputs` of the requests' messages.
            requests: one a row. What fails here leaves the answers under way as they were.
            read: gives the logits and a cache of its own; None is `read_tokens`, one forward.

        Raises:
            PromptError: a conversation leaves no room for an answer in the model's context.
        """
        self._drop_done()  # called off, or failed at the last token
        lengths = inputs["attention_mask"].sum(-1).tolist()
        for request, length in zip(requests, lengths, strict=True):
            room = require_context(length, self.model.config)
            request.max_tokens = min(request.settings.max_new_tokens, room)
            request.num_prompt_tokens = length
            if request.on_piece or request.settings.stop:
                request.stream = TextStream(self.processor, request.settings.stop)
        logits, cache = read(inputs) if read else read_tokens(self.model, inputs)
        if self._logits is not None and self._cache is not None:
            logits, cache = torch.cat([self._logits, logits]), join([self._cache, cache])
        self._logits, self._cache = logits, cache
        self.answers += requests

    def choose(self) -> None:
        """Give every answer its next token, and let go of those that are done."""
        if self._logits is None or self._cache is None:
            return
        settings = [answer.settings for answer in self.answers]
        generators = [answer.generator for answer in self.answers]
        tokens = choose_tokens(self._logits, settings, generators)
        for row, (answer, token) in enumerate(zip(self.answers, tokens, strict=True)):
            with failing(answer):
                self._take(row, token)
        self._tokens = torch.tensor(tokens)[:, None].clamp(min=0)  # NOT_FINITE of one that failed
        self._drop_done()

    def read(self) -> None:
        """Read the tokens just chosen: the logits of those after them."""
        if self._cache is not None and self._tokens is not None:
            chosen = {"input_ids": self._tokens}
            self._logits, self._cache = read_tokens(self.model, chosen, self._cache)
            self._tokens = None

    def _drop_done(self) -> None:
        kept = [row for row, answer in enumerate(self.answers) if not answer.done()]
        if not kept:
            self.answers, self._logits, self._cache, self._tokens = [], None, None, None
        elif len(kept) < len(self.answers) and self._logits is not None and self._cache is not None:
            try:
                self._cache = self._cache.select(kept)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                return  # They stay in the rows: those that go on must not end because others did.
            self.answers, self._logits = [self.answers[row] for row in kept], self._logits[kept]
            self._tokens = None if self._tokens is None else self._tokens[kept]

    def _take(self, row: int, token: int) -> None:
        """Go on by one token, and deliver the text if it was the last."""
        answer = self.answers[row]
        if answer.done():
            return
        if token == NOT_FINITE:
            raise NotFiniteError(
                f"logits of token {len(answer.token_ids) + 1} of an answer are not finite numbers: "
                "weights are damaged, or too large for the dtype (try dtype=float32)."
            )
        ends = self.model.config.eos_token_id
        if token in (ends if isinstance(ends, list) else [ends]):
            answer.finish_reason = "stop"
        else:
            answer.token_ids.append(token)
            self.num_written += 1
            answer.progress = len(answer.token_ids) / answer.max_tokens
            if len(answer.token_ids) == answer.max_tokens:
                answer.finish_reason = "length"
            number, tokenizer = answer.settings.logprobs, self.processor.tokenizer
            if number is not None and self._logits is not None:
                answer.logprobs.append(logprobs_of(self._logits[row], token, number, tokenizer))
        if answer.stream is not None:
            is_last = answer.finish_reason is not None
            piece = answer.stream.piece(answer.token_ids, is_last=is_last)
            if answer.stream.is_stopped:
                answer.finish_reason = "stop"
            if piece and answer.on_piece is not None:
                answer.on_piece(piece)
        if answer.finish_reason is not None:
            answer.progress = 1.0
            text = self.processor.tokenizer.decode(answer.token_ids, skip_special_tokens=True)
            if answer.stream is not None:
                text = answer.stream.text
            answer.set_result(str(text).strip())
