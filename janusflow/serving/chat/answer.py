"""Answers as OpenAI writes them: whole ones and chunks, log-probabilities, numbers of tokens."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from janusflow.inference.answering.answers import QuestionRequest
from janusflow.inference.answering.decoding import TokenLogprobs
from janusflow.inference.pipeline import JanusFlow

BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
"""How byte-level tokenizers write the bytes of a token."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What all parts of one answer have in common."""

    model: str
    jf: JanusFlow
    """Its tokenizer knows the bytes of tokens."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, texts: Sequence[str], handles: Sequence[QuestionRequest]) -> dict[str, Any]:
        """The answer in one piece, a text for every choice."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": self._logprobs(handle.logprobs),
                "finish_reason": handle.finish_reason,
            }
            for index, (text, handle) in enumerate(zip(texts, handles, strict=True))
        ]
        return self._part("chat.completion", choices) | {"usage": usage(handles)}

    def chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: Sequence[TokenLogprobs] = (),
        finish: str | None = None,
    ) -> dict[str, Any]:
        """A piece of one choice.

        Args:
            index: of the choice.
            delta: what is new.
            logprobs: of the tokens that are new.
            finish: why it ends here, if it does.
        """
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(logprobs),
            "finish_reason": finish,
        }
        return self._part("chat.completion.chunk", [choice])

    def end(self, handles: Sequence[QuestionRequest]) -> dict[str, Any]:
        """The last chunk, where usage is wanted."""
        return self._part("chat.completion.chunk", []) | {"usage": usage(handles)}

    def _part(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        told = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return told | {"choices": choices}

    def _logprobs(self, tokens: Sequence[TokenLogprobs]) -> dict[str, Any] | None:
        if not tokens:
            return None
        content = [
            self._token(each) | {"top_logprobs": list(map(self._token, each.top))}
            for each in tokens
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: TokenLogprobs) -> dict[str, Any]:
        """A token; its bytes too, since its text may be a part of a character."""
        written = str(self.jf.processor.tokenizer.convert_ids_to_tokens(token.token_id))
        is_plain = all(letter in BYTES for letter in written)
        own = [BYTES[letter] for letter in written] if is_plain else [*token.text.encode()]
        return {"token": token.text, "logprob": token.logprob, "bytes": own}


def usage(handles: Sequence[QuestionRequest]) -> dict[str, Any]:
    """Tokens read, once for all choices, those of them that were read before, and written."""
    read, written = handles[0].num_prompt_tokens, sum(len(each.token_ids) for each in handles)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": handles[0].num_reused_tokens},
    }
