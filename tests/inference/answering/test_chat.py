"""Answers of a model whose images see ahead: the cache stands for reading everything again."""

import numpy as np
import torch
from PIL import Image
from tiny_model import tiny_janusflow
from transformers import BatchFeature

from janusflow.inference.answering.chat import question_message
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.attention import number_images

NUM_TOKENS = 6


@torch.no_grad()
def answer_without_cache(jf: JanusFlow, batch: BatchFeature) -> str:
    """Greedy, the whole conversation read anew for every token."""
    embeds = jf.model.embed_conversation(batch.input_ids, batch.pixel_values)
    images = number_images(batch.input_ids, jf.model.config)
    table, answer = jf.model.llm.get_input_embeddings(), []
    for _ in range(NUM_TOKENS):
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        read = jf.model(inputs_embeds=embeds, attention_mask=mask, block_sequence_ids=images)
        answer.append(int(read.logits[0, -1].argmax()))
        embeds = torch.cat([embeds, table(torch.tensor([answer[-1:]]))], dim=1)
        images = torch.nn.functional.pad(images, (0, 1), value=-1)
    return jf.processor.decode(answer).strip()


def test_answers_look_ahead_in_images_alone_and_do_not_depend_on_the_batch():
    jf = tiny_janusflow()
    torch.manual_seed(2)
    for parameter in jf.model.llm.parameters():  # so that likeliest tokens depend on attention
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.6)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    first, second, third = (Image.fromarray(each) for each in pixels)
    asked = [
        [question_message([first, second], "What has changed from the one to the other?")],
        [question_message([third], "What?")],
    ]
    assert jf.processor.conversations(asked).attention_mask.min() == 0
    jf.model.config.eos_token_id = -1  # no answer ends early
    causal = jf.answer(asked, max_new_tokens=NUM_TOKENS)
    jf.model.config.image_attention = "bidirectional"
    both_ways = jf.answer(asked, max_new_tokens=NUM_TOKENS)
    for row, each in enumerate(asked):
        alone = jf.processor.conversations([each])
        assert both_ways[row] == answer_without_cache(jf, alone)
        assert jf.answer([each], max_new_tokens=NUM_TOKENS) == [both_ways[row]]
    assert all(new != old for new, old in zip(both_ways, causal, strict=True))
