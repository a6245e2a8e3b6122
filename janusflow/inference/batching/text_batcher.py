"""Questions being answered side by side: they come and go between tokens.

Knows nothing of threads: one thread admits requests and makes steps.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.inference.answering.chat import AnswerPieces, Message, read_batch
from janusflow.inference.answering.decoding import (
    AnsweringSettings,
    choose_tokens,
    end_ids,
    read_tokens,
)
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.prompt import PrefixCache, join


@dataclass(frozen=True, kw_only=True)
class QuestionRequest:
    """A conversation whose next turn is wanted."""

    messages: Sequence[Message]
    settings: AnsweringSettings
    seed: int
    allow_paths: bool = True
    on_piece: Callable[[str], None] | None = None
    handle: Handle[str] = field(default_factory=Handle)


class Answer:
    """One answer that grows by a token at a time."""

    def __init__(self, request: QuestionRequest, jf: JanusFlow) -> None:
        self.request = request
        self.token_ids: list[int] = []
        self._ends = end_ids(jf.model.config.eos_token_id)
        self._generator = torch.Generator().manual_seed(request.seed)
        self._decode = jf.processor.decode
        self._pieces = AnswerPieces(jf.processor.decode)

    def take(self, logits: Float[Tensor, "1 v"]) -> None:
        """Choose the next token, and finish if it is the last one."""
        request = self.request
        (token,) = choose_tokens(logits, request.settings, [self._generator])
        if token not in self._ends:
            self.token_ids.append(token)
            self._tell(self._pieces.add(token))
        longest = request.settings.max_new_tokens
        request.handle.progress = len(self.token_ids) / longest
        if token in self._ends or len(self.token_ids) == longest:
            self._tell(self._pieces.finish())
            request.handle.finish(self._decode(self.token_ids).strip())

    def _tell(self, piece: str) -> None:
        if piece and self.request.on_piece is not None:
            self.request.on_piece(piece)


class TextBatcher:
    """Questions, first come, first served: waiting ones and answers under way."""

    def __init__(self, jf: JanusFlow, *, max_questions: int, tokens_per_step: int) -> None:
        self.jf = jf
        self.max_questions = max_questions
        self.tokens_per_step = tokens_per_step
        self.waiting: deque[QuestionRequest] = deque()
        self.answers: list[Answer] = []
        self._context: PrefixCache | None = None
        """What the answers' conversations are so far, a row each; their last tokens are not in."""

    @property
    def handles(self) -> list[Handle[str]]:
        """Of all requests."""
        waiting = [request.handle for request in self.waiting]
        return waiting + [answer.request.handle for answer in self.answers]

    def step(self) -> None:
        """Give every answer its tokens, then take the questions there is room for."""
        self.waiting = deque(r for r in self.waiting if not r.handle.is_done)
        for _ in range(self.tokens_per_step):
            self._let_go()
            self._go_on()
        self._let_go()
        self._admit()

    def _let_go(self) -> None:
        """Drop the rows of answers that are finished or called off."""
        kept = [i for i, answer in enumerate(self.answers) if not answer.request.handle.is_done]
        if len(kept) == len(self.answers):
            return
        self.answers = [self.answers[i] for i in kept]
        if self._context is not None:
            self._context = join([self._context.select(kept)]) if kept else None

    def _go_on(self) -> None:
        if self._context is None:
            return
        with failing(*(answer.request.handle for answer in self.answers)):
            last = [answer.token_ids[-1] for answer in self.answers]
            logits, self._context = read_tokens(self.jf.model, last, self._context)
            for answer, own in zip(self.answers, logits.split(1), strict=True):
                with failing(answer.request.handle):
                    answer.take(own)

    def _admit(self) -> None:
        contexts = [] if self._context is None else [self._context]
        while self.waiting and len(self.answers) < self.max_questions:
            request = self.waiting.popleft()
            with failing(request.handle):
                batch = self.jf.read([request.messages], allow_paths=request.allow_paths)
                logits, context = read_batch(self.jf.model, batch)
                answer = Answer(request, self.jf)
                answer.take(logits)
                if not request.handle.is_done:
                    self.answers.append(answer)
                    contexts.append(context)
        if len(contexts) > (self._context is not None):
            with failing(*(answer.request.handle for answer in self.answers)):
                self._context = join(contexts)
