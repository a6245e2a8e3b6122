"""Answers that grow side by side, a token each at every step: the one token loop there is.

`jf.ask` puts all its questions in at once, `jf.stream` one; a scheduler lets questions join and
leave between tokens. An answer depends on its conversation and seed, never on its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import BatchFeature

from janusflow.config.errors import NotFiniteError, is_out_of_memory
from janusflow.inference.answering.decoding import (
    NOT_FINITE,
    AnsweringSettings,
    choose_tokens,
    context_length,
    end_ids,
    prefill,
    read_tokens,
)
from janusflow.inference.batching.requests import Handle, failing
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, join
from janusflow.processing.processor import JanusFlowProcessor, MessageLike


@dataclass(frozen=True, kw_only=True)
class QuestionRequest:
    """A conversation whose next turn is wanted."""

    messages: Sequence[MessageLike] | str
    """Or a text in the form of a prompt, as planning asks."""
    settings: AnsweringSettings
    seed: int
    allow_paths: bool = True
    on_piece: Callable[[str], None] | None = None
    """Called with the text as it comes: whole characters only."""
    handle: Handle[str] = field(default_factory=Handle)


class TextStream:
    """An answer's text as its tokens come, without the space before its first word.

    The library's stream holds back a token's text until it is whole characters (a Korean syllable
    may be three tokens). The template ends in "Assistant:", so answers begin with a space.
    """

    def __init__(self, processor: JanusFlowProcessor) -> None:
        self._processor = processor
        self._stream = DecodeStream(skip_special_tokens=True)
        self._text = ""
        self._length = 0

    def add(self, token_id: int) -> str:
        """Take one token; the text that is certain now and was not before."""
        backend = self._processor.tokenizer.backend_tokenizer
        return self._until(self._text + (self._stream.step(backend, token_id) or ""))

    def finish(self, token_ids: Sequence[int]) -> str:
        """The rest of the text of all tokens, broken characters included."""
        return self._until(self._processor.decode(token_ids))

    def _until(self, text: str) -> str:
        self._text, shown = text, text.lstrip()
        start, self._length = self._length, len(shown)
        return shown[start:]


class Answer:
    """One answer under way. Its request's handle gets the text, or what went wrong."""

    def __init__(
        self,
        request: QuestionRequest,
        processor: JanusFlowProcessor,
        *,
        ends: set[int],
        max_tokens: int,
    ) -> None:
        self.settings = request.settings
        self.generator = torch.Generator().manual_seed(request.seed)
        self.handle = request.handle
        self.token_ids: list[int] = []
        self._processor = processor
        self._ends = ends
        self._max_tokens = max_tokens
        self._on_piece = request.on_piece
        self._stream = TextStream(processor)

    def take(self, token: int) -> None:
        """Go on by one token, and deliver the text if it was the last."""
        if token == NOT_FINITE:
            raise NotFiniteError(
                f"logits of token {len(self.token_ids) + 1} of an answer are not finite numbers: "
                "weights are damaged, or too large for the dtype (try dtype=float32)."
            )
        is_end = token in self._ends
        if not is_end:
            self.token_ids.append(token)
            self._tell(self._stream.add, token)
        self.handle.progress = len(self.token_ids) / self._max_tokens
        if is_end or len(self.token_ids) == self._max_tokens:
            self._tell(self._stream.finish, self.token_ids)
            self.handle.finish(self._processor.decode(self.token_ids).strip())

    def _tell(self, read: Callable[..., str], tokens: int | list[int]) -> None:
        if self._on_piece is not None and (piece := read(tokens)):
            self._on_piece(piece)


class AnswerBatch:
    """Answers that share forwards: they may join and leave between tokens."""

    def __init__(
        self, model: JanusFlowForConditionalGeneration, processor: JanusFlowProcessor
    ) -> None:
        self.model = model
        self.processor = processor
        self.answers: list[Answer] = []
        self._cache: PrefixCache | None = None
        """A row for each answer: what was read of its conversation, all but its last token."""

    def add(self, inputs: BatchFeature, requests: Sequence[QuestionRequest]) -> list[Answer]:
        """Read conversations in one forward, and choose the first tokens of their answers.

        Args:
            inputs: `JanusFlow.prepare_inputs` of the requests' messages; they fit in the context.
            requests: one a row. What fails here leaves the answers under way as they were.
        """
        config = self.model.config
        ends, context = end_ids(config.eos_token_id), context_length(config)
        lengths = inputs["attention_mask"].sum(-1).tolist()
        answers = [
            Answer(
                request,
                self.processor,
                ends=ends,
                max_tokens=min(request.settings.max_new_tokens, context - length),
            )
            for request, length in zip(requests, lengths, strict=True)
        ]
        logits, cache = prefill(self.model, inputs)
        _take(answers, logits)
        under_way = [i for i, answer in enumerate(answers) if not answer.handle.is_done]
        if under_way:
            if len(under_way) < len(answers):
                cache = cache.select(under_way)
            self._cache = cache if self._cache is None else join([self._cache, cache])
            self.answers += [answers[i] for i in under_way]
        return answers

    def step(self) -> None:
        """Let answers go that are done or called off; give every other one its next token."""
        self._drop_done()
        if self._cache is not None:
            last = torch.tensor([answer.token_ids[-1:] for answer in self.answers])
            logits, self._cache = read_tokens(self.model, last, self._cache)
            _take(self.answers, logits[:, -1])
            self._drop_done()

    def _drop_done(self) -> None:
        kept = [i for i, answer in enumerate(self.answers) if not answer.handle.is_done]
        if len(kept) == len(self.answers):
            return
        try:
            self._cache = self._cache.select(kept) if self._cache is not None and kept else None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return  # They stay in the rows: those that go on must not end because others did.
        self.answers = [self.answers[i] for i in kept]


def _take(answers: Sequence[Answer], logits: Float[Tensor, "b v"]) -> None:
    """Give every answer its next token; what goes wrong with one is its own error."""
    settings = [answer.settings for answer in answers]
    tokens = choose_tokens(logits, settings, [answer.generator for answer in answers])
    for answer, token in zip(answers, tokens, strict=True):
        if not answer.handle.is_done:
            with failing(answer.handle):
                answer.take(token)
