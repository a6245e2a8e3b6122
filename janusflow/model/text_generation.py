"""What transformers' `generate` and its tools ask of a model besides `forward`."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedConfig
from transformers.utils.generic import TransformersKwargs

from janusflow.model.attention import llm_mask
from janusflow.model.configuration import JanusFlowConfig

IGNORE_INDEX = -100
"""Label of tokens that are not learnt, as transformers has it."""
SHIFTED = "shift_labels"
"""What a Trainer that splits sequences passes beside `labels`: each position's next token."""


class TextGeneration(GenerationMixin):
    """`generate` with images: they are encoded once, and expanded with their rows."""

    config: JanusFlowConfig
    llm: Any

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's token embedding."""
        return self.llm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the LLM's token embedding."""
        self.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's head."""
        return self.llm.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the LLM's head."""
        self.llm.set_output_embeddings(new_embeddings)

    def get_decoder(self) -> nn.Module:
        """The LLM without its head."""
        return self.llm.base_model

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Repeat rows for beams or several answers; a row's images stay together."""
        images = model_kwargs.pop("pixel_values", None)
        if images is not None and expand_size > 1:
            is_start = input_ids == self.config.image_start_token_id
            per_row = is_start.sum(1).tolist() if isinstance(is_start, Tensor) else []
            if sum(per_row) == len(images):
                rows = [row.repeat(expand_size, 1, 1, 1) for row in images.split(per_row)]
                images = torch.cat(rows)
            else:  # embeddings were given: an image a row
                images = images.repeat_interleave(expand_size, dim=0)
        expanded = super()._expand_inputs_for_generation(  # pyright: ignore[reportAttributeAccessIssue]
            expand_size, is_encoder_decoder, input_ids, **model_kwargs
        )
        if images is not None:
            expanded[1]["pixel_values"] = images
        return expanded

    @staticmethod
    def create_masks_for_generate(
        config: PreTrainedConfig,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        cache: Cache | None,
        *,
        is_first_iteration: bool = False,
        **_: Any,
    ) -> Any:
        """Make the mask of a token after a cache of fixed size; `forward` makes that of a prompt.

        Only `forward` knows the images, and only tokens are compiled.
        """
        if is_first_iteration:
            return attention_mask
        return llm_mask(config.get_text_config(), inputs_embeds, attention_mask, cache=cache)


def after_real_tokens(
    labels: Int[Tensor, "b t"], attention_mask: Int[Tensor, "b s"]
) -> Int[Tensor, "b t"]:
    """Labels of tokens that are predicted from a real token; -100 for what follows padding."""
    is_real = attention_mask[:, -labels.shape[1] :] > 0
    return labels.masked_fill(~nn.functional.pad(is_real, (1, 0))[:, :-1], IGNORE_INDEX)


def refuse_unknown_keywords(keywords: Mapping[str, object]) -> None:
    """Refuse keywords of `forward` that transformers' models would swallow.

    Raises:
        TypeError: there are some.
    """
    unknown = keywords.keys() - TransformersKwargs.__optional_keys__ - {SHIFTED}
    if unknown:
        raise TypeError(f"forward() got unexpected keyword arguments {sorted(unknown)}")
