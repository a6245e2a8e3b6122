"""Reads conversations, images and drawing prompts, and does not read again what it knows.

A conversation is always read in the same pieces, one forward each: to the end of the system text,
of each image, of each answer in it, and the rest. A piece is found by its own tokens and images and
those of all before it, and found or read, its keys and values are put in the same place: so an
answer is the same to the bit whether a piece was found or not. The weights must not change,
but for adapters: what was read under some of them is found under the same ones only.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from janusflow.inference.answering.decoding import read_tokens
from janusflow.inference.batching.adapter_switch import AdapterSwitch
from janusflow.inference.batching.reuse import ReuseCache
from janusflow.inference.drawing.prompts import PromptEncoding, encode_texts
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.attention import NO_IMAGE, number_images
from janusflow.model.cache import GrowingCache, GrowingLayer
from janusflow.model.prompt import PrefixCache
from janusflow.processing.templates import USER


@dataclass(frozen=True, kw_only=True)
class ReadPiece:
    """A piece of a conversation after it was read."""

    layers: list[tuple[Float[Tensor, "1 g t w"], Float[Tensor, "1 g t w"]]]
    """Keys and values of its positions, block by block."""
    logits: Float[Tensor, "1 v"]
    """Of what comes next."""

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return self.logits.nbytes + sum(key.nbytes + value.nbytes for key, value in self.layers)


class PromptReader:
    """Reads for one model, and counts what it reads.

    Args:
        jf: reads.
        max_bytes: of what is kept on the model's device; 0 keeps nothing.
        switch: knows which adapters are on; None makes one.
    """

    def __init__(
        self, jf: JanusFlow, *, max_bytes: int, switch: AdapterSwitch | None = None
    ) -> None:
        self.model, self.processor = jf.model, jf.processor
        self.switch = switch or AdapterSwitch(jf.model)
        self.reuse = ReuseCache(max_bytes)
        self.tokens_read = 0
        """Positions, those of images, padding and unconditional branches included."""
        self.tokens_reused = 0
        self.images_encoded = 0
        self.images_reused = 0
        self._user = self.processor.tokenizer.encode(f"{USER}:", add_special_tokens=False)
        self._ends = {self.processor.image_end_token_id, self.processor.eos_token_id}

    def read_texts(
        self, texts: Sequence[str], *, is_guided: bool, negative_prompt: str | None
    ) -> PromptEncoding:
        """What `encode_texts` gives, read once for the same texts and branches."""
        key = "texts", self.switch.on, tuple(texts), is_guided, negative_prompt
        found = self.reuse.find(key)
        if found is not None:
            self.tokens_reused += found.cache.attention_mask.numel()
            return found
        encoding = encode_texts(
            self.model,
            self.processor,
            texts,
            is_guided=is_guided,
            negative_prompt=negative_prompt,
        )
        self.tokens_read += encoding.cache.attention_mask.numel()
        self.reuse.keep(key, encoding, encoding.cache.num_bytes)
        return encoding

    @torch.no_grad()
    def read_conversation(
        self, inputs: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "1 v"], PrefixCache]:
        """Read one conversation: the logits of what comes next, and a cache of its own.

        An LLM that forgets (sliding windows) reads it in one piece, and nothing of it is kept.

        Args:
            inputs: `JanusFlow.prepare_inputs` of it.
        """
        mask = inputs["attention_mask"].to(self.model.device)
        cache = GrowingCache(self.model.config.llm_config)
        layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
        if len(layers) < len(cache.layers):
            self.tokens_read += mask.numel()
            self.images_encoded += len(inputs.get("pixel_values", ()))
            return read_tokens(self.model, inputs)
        token_ids, pixels = inputs["input_ids"][0].tolist(), [*inputs.get("pixel_values", ())]
        known, logits = repr(self.switch.on).encode(), None
        for start, stop in pairwise([0, *piece_ends(token_ids, user=self._user, ends=self._ends)]):
            tokens = token_ids[start:stop]
            number = tokens.count(self.model.config.image_start_token_id)
            images, pixels = pixels[:number], pixels[number:]
            names = [*map(digest, images)]
            known = sha256(b"".join([known, repr(tokens).encode(), *names])).digest()
            piece = self.reuse.find(("conversation", known))
            if piece is None:
                features = [*map(self._features, images, names)]
                logits = self._read_piece(inputs["input_ids"][:, start:stop], features, cache)
                gained = [layer.copy_from(start) for layer in layers]
                piece = ReadPiece(layers=gained, logits=logits)
                self.reuse.keep(("conversation", known), piece, piece.num_bytes)
                self.tokens_read += stop - start
            else:
                for layer, (keys, values) in zip(layers, piece.layers, strict=True):
                    layer.update(keys, values)
                self.tokens_reused += stop - start
                self.images_reused += number
            logits = piece.logits
        assert logits is not None
        return logits, PrefixCache(
            cache=cache, attention_mask=mask, next_position=mask.sum(-1), is_padded=False
        )

    def _features(self, image: Float[Tensor, "c y x"], name: bytes) -> Float[Tensor, "1 p w"]:
        """`image_features` of one image by itself, so that none depends on those beside it."""
        key = "image", self.switch.on, name
        found = self.reuse.find(key)
        if found is not None:
            self.images_reused += 1
            return found
        self.images_encoded += 1
        features = self.model.image_features(image[None].to(self.model.device))
        self.reuse.keep(key, features, features.nbytes)
        return features

    def _read_piece(
        self,
        token_ids: Int[Tensor, "1 t"],
        features: Sequence[Float[Tensor, "1 p w"]],
        cache: GrowingCache,
    ) -> Float[Tensor, "1 v"]:
        """Read the tokens behind those in the cache, which grows: the logits of what comes next."""
        start, token_ids = cache.get_seq_length(), token_ids.to(self.model.device)
        embeds = self.model.embed_conversation(
            token_ids, features=torch.cat([*features]) if features else None
        )
        numbers = number_images(token_ids, self.model.config)
        # Pieces have any length, so a compiled model would be compiled over and over.
        with torch.compiler.set_stance("force_eager"):
            output = self.model(
                inputs_embeds=embeds,
                block_sequence_ids=None
                if numbers is None
                else pad(numbers, (start, 0), value=NO_IMAGE),
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]


def piece_ends(token_ids: Sequence[int], *, user: Sequence[int], ends: Container[int]) -> list[int]:
    """Where a conversation's pieces end, the last one at its own end.

    Args:
        token_ids: of the conversation.
        user: tokens that begin a user's turn; what is before the first is the system's text.
        ends: tokens that end an image or an answer.
    """
    length = len(user)
    begins = (i for i in range(len(token_ids)) if [*token_ids[i : i + length]] == [*user])
    system = next(begins, 0)
    found = {place for place, token in enumerate(token_ids, 1) if token in ends}
    # A begin token alone is no system text.
    return sorted(found | {len(token_ids)} | ({system} if system > 1 else set()))


def digest(image: Float[Tensor, "c y x"]) -> bytes:
    """What an image is found by: SHA-256 of the numbers that the model reads."""
    return sha256(image.cpu().contiguous().view(torch.uint8).numpy().tobytes()).digest()
