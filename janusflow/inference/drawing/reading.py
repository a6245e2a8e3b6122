"""Texts to what drawing goes on from: tokenised by the processor, read by the model."""

from collections.abc import Sequence

from janusflow.inference.drawing.sampling import PromptEncoding, encode_prompts
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt
from janusflow.processing.batches import PromptBatch
from janusflow.processing.processor import JanusFlowProcessor


def read_texts(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    texts: Sequence[str],
    *,
    is_guided: bool,
    negative_prompt: str | None = None,
) -> PromptEncoding:
    """Read each text once, and with guidance what the unconditional branch reads.

    Args:
        model: reads.
        processor: puts the texts into the template.
        texts: prompts or plans.
        is_guided: whether there is an unconditional branch.
        negative_prompt: what it reads, instead of nothing.
    """
    negative = None if negative_prompt is None else [negative_prompt]
    return encode_prompts(
        model,
        as_prompt(processor.prompts(texts)),
        negative=None if negative is None else as_prompt(processor.prompts(negative)),
        is_guided=is_guided,
    )


def as_prompt(batch: PromptBatch) -> Prompt:
    """The processor's batch as the model's: neither box of the figure knows the other."""
    return Prompt.of(batch.token_ids, batch.attention_mask)
