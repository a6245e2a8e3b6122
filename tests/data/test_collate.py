"""Training rows are what inference reads, and only answers are learnt."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import NUM_IMAGE_TOKENS, draw, make_collator, run_model, run_processor

from janusflow.data.collate import IGNORED, PADDING, SHARED, Collator, Row, segment_mask
from janusflow.data.samples import TextSample, Turn, UnderstandingSample
from janusflow.mini.sources import SceneSources
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import MessageLike

PICTURE = Image.new("RGB", (64, 64), "red")
PIXELS = torch.zeros(3, 64, 64)
TRICKY = (
    Turn(question="What is this?", answer="red"),
    Turn(question="How many?  Two spaces", answer="3"),
    Turn(question="무엇이 있나요?", answer="빨간 원, 파란 별"),
    Turn(question="Is it (really) so...", answer="no: 'tis 2.5!"),
)


@pytest.fixture(scope="module")
def model() -> JanusFlowForConditionalGeneration:
    return run_model().eval()


@pytest.fixture(scope="module")
def collate(model: JanusFlowForConditionalGeneration) -> Collator:
    return make_collator(model)


def asked(turns: Sequence[Turn]) -> list[int]:
    """What inference reads after these turns, the last answer still to be given."""
    messages: list[MessageLike] = []
    for index, turn in enumerate(turns):
        tag = "<image_placeholder>\n" if index == 0 else ""
        messages.append({"role": "user", "content": tag + turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    batch = run_processor().conversations([messages[:-1]], [[PICTURE]])
    assert batch.attention_mask.all()
    return batch.token_ids[0].tolist()


def answer_ids(turn: Turn) -> list[int]:
    text = f" {turn.answer}"
    tokenizer = run_processor().tokenizer
    return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]


def segment_row(row: Row, segment: int) -> tuple[list[int], list[int]]:
    """Token ids and positions of one segment and of what it shares."""
    kept = [i for i, other in enumerate(row.segments) if other in (SHARED, segment)]
    return [row.token_ids[i] for i in kept], [row.position_ids[i] for i in kept]


def some_turns(sources: SceneSources) -> list[tuple[Turn, ...]]:
    rng = np.random.default_rng(0)
    return [TRICKY, *[sources.understanding(rng).turns for _ in range(12)]]


def test_a_conversation_is_the_ids_inference_reads_with_its_answers(
    collate: Collator, sources: SceneSources
):
    for turns in some_turns(sources):
        row = collate.conversation(UnderstandingSample(pixel_values=PIXELS, turns=turns))
        assert row.token_ids == asked(turns) + answer_ids(turns[-1])
        for num_turns in range(1, len(turns)):
            prefix = asked(turns[:num_turns]) + answer_ids(turns[num_turns - 1])
            assert row.token_ids[: len(prefix)] == prefix
        assert row.position_ids == list(range(len(row.token_ids)))
        assert set(row.segments) == {SHARED}


def test_each_independent_question_is_the_ids_inference_reads_when_it_stands_alone(
    collate: Collator, sources: SceneSources
):
    for turns in some_turns(sources):
        sample = UnderstandingSample(pixel_values=PIXELS, turns=turns, are_independent=True)
        row = collate.conversation(sample)
        for index, turn in enumerate(turns):
            ids, positions = segment_row(row, index + 1)
            assert ids == asked([turn]) + answer_ids(turn)
            assert positions == list(range(len(ids)))


@pytest.mark.parametrize("are_independent", [False, True])
def test_labels_are_exactly_the_answers_and_their_ends(collate: Collator, are_independent: bool):
    sample = UnderstandingSample(pixel_values=PIXELS, turns=TRICKY, are_independent=are_independent)
    row = collate.conversation(sample)
    learnt = [label for label in row.labels if label != IGNORED]
    assert learnt == [token for turn in TRICKY for token in answer_ids(turn)]
    pairs = zip(row.token_ids, row.labels, strict=True)
    assert all(label in (IGNORED, token) for token, label in pairs)


def test_of_a_text_everything_but_the_begin_token_is_learnt(collate: Collator):
    row = collate.text(TextSample(text="하나, two"))
    tokenizer = run_processor().tokenizer
    assert row.token_ids[0] == tokenizer.bos_token_id
    assert row.token_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.token_ids[1:-1]) == "하나, two"
    assert row.labels == [IGNORED, *row.token_ids[1:]]


def test_prompts_are_what_inference_reads(collate: Collator, sources: SceneSources):
    rng = np.random.default_rng(1)
    samples = [sources.generation(rng) for _ in range(20)]
    batch = collate(samples).drawing
    read = run_processor().prompts([sample.prompt for sample in samples])
    assert batch is not None
    assert torch.equal(batch.prompt.token_ids, read.token_ids)
    assert torch.equal(batch.prompt.attention_mask, read.attention_mask)
    assert torch.equal(batch.prompt.position_ids, read.position_ids)


def test_pictures_are_what_inference_sees(sources: SceneSources):
    """A rendered scene needs no resizing, so both roads give the same pixels."""
    picture = sources.scenes.picture(3)
    seen = run_processor().image_processor.preprocess([picture])
    torch.testing.assert_close(sources._pixels(3)[None], seen, atol=1e-6, rtol=0)


def test_a_mixed_batch_keeps_every_row_and_its_picture_in_order(
    collate: Collator, sources: SceneSources
):
    samples = draw(sources, "text", "understanding", "generation", "understanding", "generation")
    batch = collate(samples)
    reading, drawing = batch.reading, batch.drawing
    assert reading is not None
    assert drawing is not None
    assert (len(batch), len(reading), len(drawing)) == (5, 3, 2)
    assert reading.pixel_values is not None
    assert torch.equal(reading.pixel_values[1], samples[3].pixel_values)
    assert torch.equal(drawing.latents[0], samples[2].latent)
    assert torch.equal(drawing.pixel_values[1], samples[4].pixel_values)
    image_ids = (reading.token_ids == collate.config.image_token_id).sum(-1)
    assert image_ids.tolist() == [0, NUM_IMAGE_TOKENS, NUM_IMAGE_TOKENS]


def test_padding_stands_on_the_right_and_is_neither_learnt_nor_seen(
    collate: Collator, sources: SceneSources
):
    rows = collate(draw(sources, "text", "understanding", "text")).reading
    assert rows is not None
    is_padding = rows.segments == PADDING
    assert is_padding.any()
    assert (is_padding.long().diff(dim=-1) >= 0).all()
    assert (rows.token_ids[is_padding] == collate.config.pad_token_id).all()
    assert (rows.labels[is_padding] == IGNORED).all()
    is_hidden = segment_mask(rows.segments)[:, 0] < 0
    for row, padding in zip(is_hidden, is_padding, strict=True):
        assert row[~padding][:, padding].all()


def test_kinds_that_are_absent_make_no_rows(collate: Collator, sources: SceneSources):
    assert collate(draw(sources, "generation")).reading is None
    texts = collate(draw(sources, "text"))
    assert texts.drawing is None
    assert texts.reading is not None
    assert texts.reading.pixel_values is None


def test_a_mask_shows_what_the_plain_rule_says():
    """Against the sentence written as loops: earlier, and of one's own segment or a shared one."""
    segments = torch.tensor([[0, 0, 1, 1, 2, 2, 2, -1, -1], [0, 0, 0, 0, 0, 0, 0, 0, -1]])
    mask = segment_mask(segments)
    for b, row in enumerate(segments.tolist()):
        for i, own in enumerate(row):
            for j, other in enumerate(row):
                is_seen = j <= i and other in (own, SHARED)
                assert (mask[b, 0, i, j].item() == 0) == is_seen


@torch.no_grad()
def test_independent_questions_get_the_logits_of_conversations_of_their_own(
    model: JanusFlowForConditionalGeneration, collate: Collator, sources: SceneSources
):
    (sample,) = draw(sources, "understanding", seed=4)
    assert isinstance(sample, UnderstandingSample)

    def logits_on_answers(turns: tuple[Turn, ...]) -> torch.Tensor:
        shown = replace(sample, turns=turns, are_independent=True)
        rows = collate([shown, TextSample(text="a text that is shorter")]).reading
        assert rows is not None
        embeds = model.embed_conversation(rows.token_ids, rows.pixel_values)
        logits = model.logits(embeds, segment_mask(rows.segments), rows.position_ids)
        return logits[0, :-1][rows.labels[0, 1:] != IGNORED]

    together = logits_on_answers(sample.turns)
    alone = torch.cat([logits_on_answers((turn,)) for turn in sample.turns])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


@torch.no_grad()
def test_a_training_row_gets_the_logits_of_inference(
    model: JanusFlowForConditionalGeneration, collate: Collator, sources: SceneSources
):
    """The processor's left-padded batch through the plain causal road of `ask`."""
    turn = TRICKY[2]
    sample = UnderstandingSample(pixel_values=sources._pixels(0), turns=(turn,))
    rows = collate([sample]).reading
    assert rows is not None
    embeds = model.embed_conversation(rows.token_ids, rows.pixel_values)
    trained = model.logits(embeds, segment_mask(rows.segments), rows.position_ids)
    message = {"role": "user", "content": f"<image_placeholder>\n{turn.question}"}
    longer = {"role": "user", "content": f"<image_placeholder>\n{'more ' * 9}"}
    picture = sources.scenes.picture(0)
    batch = run_processor().conversations([[message], [longer]], [[picture], [picture]])
    embeds = model.embed_conversation(batch.token_ids, batch.pixel_values)
    read = model.logits(embeds, batch.attention_mask)
    num_asked = int(batch.attention_mask[0].sum())
    torch.testing.assert_close(trained[0, num_asked - 1], read[0, -1], atol=2e-5, rtol=0)
