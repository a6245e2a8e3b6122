"""Training rows are what inference reads, and only answers are learnt."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import NUM_IMAGE_TOKENS, TinySources, draw, make_collator, run_model, run_processor

from janusflow.config.errors import DataError
from janusflow.data.batches.collate import IGNORE_INDEX, NO_PROMPT_SEGMENT, Collator, TokenRow
from janusflow.data.samples import (
    GenerationSample,
    Sample,
    TextSample,
    Turn,
    UnderstandingSample,
)
from janusflow.model.attention import llm_mask
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.rows import PAD_SEGMENT, PREFIX_BRANCH
from janusflow.processing.processor import MessageLike

IMAGE = Image.new("RGB", (64, 64), "red")
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
    batch = run_processor().conversations([messages[:-1]], [[IMAGE]])
    assert batch.attention_mask.all()
    return batch.input_ids[0].tolist()


def answer_ids(turn: Turn) -> list[int]:
    text = f" {turn.answer}"
    tokenizer = run_processor().tokenizer
    return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]


def branch_of(row: TokenRow, branch: int) -> tuple[list[int], list[int]]:
    """Token ids and positions of one branch and of what it shares."""
    kept = [i for i, other in enumerate(row.branches) if other in (PREFIX_BRANCH, branch)]
    return [row.token_ids[i] for i in kept], [row.position_ids[i] for i in kept]


def turns_of(sample: Sample) -> tuple[Turn, ...]:
    assert isinstance(sample, UnderstandingSample)
    return sample.turns


def some_turns(sources: TinySources) -> list[tuple[Turn, ...]]:
    rng = np.random.default_rng(0)
    return [TRICKY, *[turns_of(sources.draw("understanding", rng)) for _ in range(12)]]


def test_a_conversation_is_the_ids_inference_reads_with_its_answers(
    collate: Collator, sources: TinySources
):
    for turns in some_turns(sources):
        row = collate.conversation(UnderstandingSample(images=(PIXELS,), turns=turns))
        assert row.token_ids == asked(turns) + answer_ids(turns[-1])
        for num_turns in range(1, len(turns)):
            prefix = asked(turns[:num_turns]) + answer_ids(turns[num_turns - 1])
            assert row.token_ids[: len(prefix)] == prefix
        assert row.position_ids == list(range(len(row.token_ids)))
        assert set(row.branches) == {PREFIX_BRANCH}


def test_each_independent_question_is_the_ids_inference_reads_when_it_stands_alone(
    collate: Collator, sources: TinySources
):
    for turns in some_turns(sources):
        sample = UnderstandingSample(images=(PIXELS,), turns=turns, are_independent=True)
        row = collate.conversation(sample)
        for index, turn in enumerate(turns):
            ids, positions = branch_of(row, index + 1)
            assert ids == asked([turn]) + answer_ids(turn)
            assert positions == list(range(len(ids)))


@pytest.mark.parametrize("are_independent", [False, True])
def test_labels_are_exactly_the_answers_and_their_ends(collate: Collator, are_independent: bool):
    sample = UnderstandingSample(images=(PIXELS,), turns=TRICKY, are_independent=are_independent)
    row = collate.conversation(sample)
    learnt = [label for label in row.labels if label != IGNORE_INDEX]
    assert learnt == [token for turn in TRICKY for token in answer_ids(turn)]
    pairs = zip(row.token_ids, row.labels, strict=True)
    assert all(label in (IGNORE_INDEX, token) for token, label in pairs)


def test_of_a_text_everything_but_the_begin_token_is_learnt(collate: Collator):
    row = collate.text(TextSample(text="하나, two"))
    tokenizer = run_processor().tokenizer
    assert row.token_ids[0] == tokenizer.bos_token_id
    assert row.token_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.token_ids[1:-1]) == "하나, two"
    assert row.labels == [IGNORE_INDEX, *row.token_ids[1:]]


def test_prompts_are_what_inference_reads(collate: Collator, sources: TinySources):
    rng = np.random.default_rng(1)
    for _ in range(20):
        sample = sources.draw("generation", rng)
        assert isinstance(sample, GenerationSample)
        row = collate.drawing(sample)
        read = run_processor().prompts([sample.prompt])
        num_read = read.input_ids.shape[1]
        assert row.token_ids[:num_read] == read.input_ids[0].tolist()
        assert row.position_ids == list(range(num_read + 1 + NUM_IMAGE_TOKENS))
        assert row.is_drawing == [False] * num_read + [True] * (1 + NUM_IMAGE_TOKENS)
        assert set(row.labels) == {IGNORE_INDEX}


def test_images_are_what_inference_sees(sources: TinySources):
    """A rendered scene needs no resizing, so both roads give the same pixels."""
    image = sources.scenes.image(3)
    seen = run_processor().image_processor.preprocess([image]).pixel_values
    torch.testing.assert_close(sources.pixels(3)[None], seen, atol=1e-6, rtol=0)


def test_images_come_in_the_order_in_which_the_rows_reach_them(
    collate: Collator, sources: TinySources
):
    kinds = ("text", "understanding", "generation", "understanding", "generation", "generation")
    samples = draw(sources, *kinds)
    batch = collate(samples)
    rows, drawings = batch.rows, batch.drawings
    assert drawings is not None
    assert batch.pixel_values is not None
    assert len(batch) == 6
    assert len(rows.segment_ids) > 1
    reached = list(dict.fromkeys(rows.segment_ids[rows.segment_ids != PAD_SEGMENT].tolist()))
    assert sorted(reached) == list(range(6))
    seen = [samples[i] for i in reached if kinds[i] == "understanding"]
    drawn = [samples[i] for i in reached if kinds[i] == "generation"]
    assert torch.equal(batch.pixel_values, torch.stack([s.images[0] for s in seen]))
    assert torch.equal(drawings.latents, torch.stack([s.latent for s in drawn]))
    assert torch.equal(drawings.pixel_values, torch.stack([s.pixel_values for s in drawn]))
    assert drawings.seeds == tuple(s.seed for s in drawn)


def test_a_prompt_that_may_be_hidden_is_all_but_its_begin_token(
    collate: Collator, sources: TinySources
):
    samples = draw(sources, "generation", "text", "generation")
    batch = collate(samples)
    assert batch.drawings is not None
    for image, seed in enumerate(batch.drawings.seeds):
        (sample,) = (s for s in samples if getattr(s, "seed", None) == seed)
        tokens = batch.rows.token_ids[batch.drawings.prompt_of == image].tolist()
        assert tokens == run_processor().prompts([sample.prompt]).input_ids[0, 1:].tolist()
    assert (batch.drawings.prompt_of[batch.rows.is_drawing] == NO_PROMPT_SEGMENT).all()


def test_padding_stands_on_the_right_and_is_neither_learnt_nor_seen(
    collate: Collator, sources: TinySources
):
    batch = collate(draw(sources, "text", "understanding", "text", "understanding", "generation"))
    is_padding = batch.rows.segment_ids == PAD_SEGMENT
    assert is_padding.any()
    assert (is_padding.long().diff(dim=-1) >= 0).all()
    assert (batch.rows.token_ids[is_padding] == collate.config.pad_token_id).all()
    assert (batch.labels[is_padding] == IGNORE_INDEX).all()
    config = run_model().llm.config
    embeds = torch.zeros(*batch.labels.shape, 1)
    attends = llm_mask(config, embeds, None, rule=batch.rows.rule())[:, 0]
    for row, padding in zip(attends, is_padding, strict=True):
        assert not row[~padding][:, padding].any()


def test_a_batch_counts_its_samples_by_kind_its_tokens_positions_and_images(
    collate: Collator, sources: TinySources
):
    chat = UnderstandingSample(images=(), turns=TRICKY)  # text, for all its turns
    pair = UnderstandingSample(images=(PIXELS, PIXELS), turns=TRICKY)
    drawn = draw(sources, "text", "understanding", "text", "generation", "generation")
    batch = collate([*drawn, chat, pair])
    (num_seen, *_), num_drawn = batch.pixel_values.shape, len(batch.drawings)
    assert batch.batch_stats == {
        "understanding": 2,
        "generation": num_drawn,
        "text": 3,
        "understanding_images": num_seen,
        "generation_images": num_drawn,
        "tokens": int((batch.rows.segment_ids != PAD_SEGMENT).sum()),
        "positions": batch.rows.token_ids.numel(),
    }
    assert (num_seen, num_drawn, len(batch)) == (3, 2, 7)
    assert batch.batch_stats["tokens"] < batch.batch_stats["positions"]


def test_kinds_that_are_absent_bring_no_images(collate: Collator, sources: TinySources):
    assert collate(draw(sources, "generation")).pixel_values is None
    assert collate(draw(sources, "understanding", "text")).drawings is None


TAG = "<image_placeholder>"


def test_several_images_stand_where_the_questions_hold_them(collate: Collator):
    turns = (
        Turn(question=f"{TAG}\nWhat is this?", answer="red"),
        Turn(question=f"And {TAG} or {TAG}?", answer="blue"),
    )
    sample = UnderstandingSample(images=(PIXELS,) * 3, turns=turns)
    messages: list[MessageLike] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    read = run_processor().conversations([messages[:-1]], [[IMAGE] * 3])
    row = collate.conversation(sample)
    assert row.token_ids == read.input_ids[0].tolist() + answer_ids(turns[-1])


def test_images_no_question_holds_stand_before_the_first(collate: Collator):
    sample = UnderstandingSample(images=(PIXELS,) * 2, turns=TRICKY[:1])
    message = {"role": "user", "content": f"{TAG}\n{TAG}\n{TRICKY[0].question}"}
    read = run_processor().conversations([[message]], [[IMAGE] * 2])
    row = collate.conversation(sample)
    assert row.token_ids == read.input_ids[0].tolist() + answer_ids(TRICKY[0])


def test_a_chat_without_images_is_what_inference_reads(collate: Collator):
    row = collate.conversation(UnderstandingSample(images=(), turns=TRICKY[:1]))
    message = {"role": "user", "content": TRICKY[0].question}
    read = run_processor().conversations([[message]], [[]])
    assert row.token_ids == read.input_ids[0].tolist() + answer_ids(TRICKY[0])


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (
            UnderstandingSample(images=(PIXELS,) * 2, turns=(Turn(question=TAG, answer=""),)),
            "1 <",
        ),
        (TextSample(text=f"a text with {TAG}"), "holds a tag"),
        (TextSample(text="a text with <image_beg>"), "holds a tag"),
        (UnderstandingSample(images=(), turns=(Turn(question="", answer=TAG),)), "holds a tag"),
        (
            GenerationSample(prompt=f"draw {TAG}", pixel_values=PIXELS, latent=None, seed=0),
            "holds a tag",
        ),
        (
            UnderstandingSample(
                images=(PIXELS,), turns=(Turn(question=TAG, answer=""),), are_independent=True
            ),
            "see one another",
        ),
    ],
)
def test_tags_where_no_image_stands_are_refused(collate: Collator, sample: Sample, said: str):
    with pytest.raises(DataError, match=said):
        collate.build(sample)


def test_a_text_that_is_too_long_is_cut_and_a_chat_loses_its_last_turns(
    model: JanusFlowForConditionalGeneration,
):
    short = make_collator(model, row_tokens=60)
    row = short.build(TextSample(text="one two three " * 40)).row
    assert len(row) == 60
    assert row.token_ids[-1] != short.end_of_answer
    chat = UnderstandingSample(images=(), turns=TRICKY * 3)
    whole = make_collator(model).build(chat).row
    cut = short.build(chat).row
    assert len(cut) <= 60 < len(whole)
    assert cut.token_ids == whole.token_ids[: len(cut)]
    assert cut.token_ids[-1] == short.end_of_answer
    seen = UnderstandingSample(images=(PIXELS,) * 4, turns=TRICKY[:1])
    with pytest.raises(DataError, match="tokens for rows of at most 60"):
        short.build(seen)


@torch.no_grad()
def test_independent_questions_get_the_logits_of_conversations_of_their_own(
    model: JanusFlowForConditionalGeneration, collate: Collator, sources: TinySources
):
    (sample,) = draw(sources, "understanding", seed=4)
    assert isinstance(sample, UnderstandingSample)

    def logits_on_answers(turns: tuple[Turn, ...]) -> torch.Tensor:
        batch = collate([replace(sample, turns=turns, are_independent=True)])
        return model.read_rows(
            batch.rows, learnt_positions=batch.learnt_positions, pixel_values=batch.pixel_values
        ).logits

    together = logits_on_answers(sample.turns)
    alone = torch.cat([logits_on_answers((turn,)) for turn in sample.turns])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


@torch.no_grad()
def test_a_training_row_gets_the_logits_of_inference(
    model: JanusFlowForConditionalGeneration, collate: Collator, sources: TinySources
):
    """The processor's left-padded batch through the plain causal road of `ask`."""
    turn = TRICKY[2]
    sample = UnderstandingSample(images=(sources.pixels(0),), turns=(turn,))
    rows = collate([sample])
    first, pixels = rows.learnt_positions[:1], rows.pixel_values
    trained = model.read_rows(rows.rows, learnt_positions=first, pixel_values=pixels).logits
    message = {"role": "user", "content": f"<image_placeholder>\n{turn.question}"}
    longer = {"role": "user", "content": f"<image_placeholder>\n{'more ' * 9}"}
    image = sources.scenes.image(0)
    batch = run_processor().conversations([[message], [longer]], [[image], [image]])
    embeds = model.embed_conversation(batch.input_ids, batch.pixel_values)
    read = model(inputs_embeds=embeds, attention_mask=batch.attention_mask).logits
    torch.testing.assert_close(trained[0], read[0, -1], atol=2e-5, rtol=0)
