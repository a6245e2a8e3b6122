"""Training rows are what inference reads, and only answers are learnt."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import NUM_IMAGE_TOKENS, draw, make_collator, run_model, run_processor

from janusflow.data.collate import IGNORED, NO_PROMPT, Collator, Row
from janusflow.data.samples import TextSample, Turn, UnderstandingSample
from janusflow.mini.sources import SceneSources
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.rows import NOBODY, SHARED
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


def branch_of(row: Row, branch: int) -> tuple[list[int], list[int]]:
    """Token ids and positions of one branch and of what it shares."""
    kept = [i for i, other in enumerate(row.branches) if other in (SHARED, branch)]
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
        assert set(row.branches) == {SHARED}


def test_each_independent_question_is_the_ids_inference_reads_when_it_stands_alone(
    collate: Collator, sources: SceneSources
):
    for turns in some_turns(sources):
        sample = UnderstandingSample(pixel_values=PIXELS, turns=turns, are_independent=True)
        row = collate.conversation(sample)
        for index, turn in enumerate(turns):
            ids, positions = branch_of(row, index + 1)
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
    for _ in range(20):
        sample = sources.generation(rng)
        row = collate.drawing(sample)
        read = run_processor().prompts([sample.prompt])
        num_read = read.token_ids.shape[1]
        assert row.token_ids[:num_read] == read.token_ids[0].tolist()
        assert row.position_ids == list(range(num_read + 1 + NUM_IMAGE_TOKENS))
        assert row.is_drawing == [False] * num_read + [True] * (1 + NUM_IMAGE_TOKENS)
        assert set(row.labels) == {IGNORED}


def test_pictures_are_what_inference_sees(sources: SceneSources):
    """A rendered scene needs no resizing, so both roads give the same pixels."""
    picture = sources.scenes.picture(3)
    seen = run_processor().image_processor.preprocess([picture])
    torch.testing.assert_close(sources._pixels(3)[None], seen, atol=1e-6, rtol=0)


def test_pictures_come_in_the_order_in_which_the_rows_reach_them(
    collate: Collator, sources: SceneSources
):
    kinds = ("text", "understanding", "generation", "understanding", "generation", "generation")
    samples = draw(sources, *kinds)
    batch = collate(samples)
    rows, drawings = batch.rows, batch.drawings
    assert drawings is not None
    assert batch.pixel_values is not None
    assert len(batch) == 6
    assert len(rows.samples) > 1
    reached = list(dict.fromkeys(rows.samples[rows.samples != NOBODY].tolist()))
    assert sorted(reached) == list(range(6))
    seen = [samples[i] for i in reached if kinds[i] == "understanding"]
    drawn = [samples[i] for i in reached if kinds[i] == "generation"]
    assert torch.equal(batch.pixel_values, torch.stack([s.pixel_values for s in seen]))
    assert torch.equal(drawings.latents, torch.stack([s.latent for s in drawn]))
    assert torch.equal(drawings.pixel_values, torch.stack([s.pixel_values for s in drawn]))
    assert drawings.seeds == tuple(s.seed for s in drawn)


def test_a_prompt_that_may_be_hidden_is_all_but_its_begin_token(
    collate: Collator, sources: SceneSources
):
    samples = draw(sources, "generation", "text", "generation")
    batch = collate(samples)
    assert batch.drawings is not None
    for picture, seed in enumerate(batch.drawings.seeds):
        (sample,) = (s for s in samples if getattr(s, "seed", None) == seed)
        tokens = batch.rows.token_ids[batch.drawings.prompt_of == picture].tolist()
        assert tokens == run_processor().prompts([sample.prompt]).token_ids[0, 1:].tolist()
    assert (batch.drawings.prompt_of[batch.rows.is_drawing] == NO_PROMPT).all()


def test_padding_stands_on_the_right_and_is_neither_learnt_nor_seen(
    collate: Collator, sources: SceneSources
):
    batch = collate(draw(sources, "text", "understanding", "text", "understanding", "generation"))
    is_padding = batch.rows.samples == NOBODY
    assert is_padding.any()
    assert (is_padding.long().diff(dim=-1) >= 0).all()
    assert (batch.rows.token_ids[is_padding] == collate.config.pad_token_id).all()
    assert (batch.labels[is_padding] == IGNORED).all()
    is_hidden = batch.rows.attention_mask(torch.float32)[:, 0] < 0
    for row, padding in zip(is_hidden, is_padding, strict=True):
        assert row[:, padding].all()


def test_kinds_that_are_absent_bring_no_pictures(collate: Collator, sources: SceneSources):
    assert collate(draw(sources, "generation")).pixel_values is None
    assert collate(draw(sources, "understanding", "text")).drawings is None


@torch.no_grad()
def test_independent_questions_get_the_logits_of_conversations_of_their_own(
    model: JanusFlowForConditionalGeneration, collate: Collator, sources: SceneSources
):
    (sample,) = draw(sources, "understanding", seed=4)
    assert isinstance(sample, UnderstandingSample)

    def logits_on_answers(turns: tuple[Turn, ...]) -> torch.Tensor:
        batch = collate([replace(sample, turns=turns, are_independent=True)])
        is_learnt = batch.labels != IGNORED
        return model.read_rows(
            batch.rows, is_learnt=is_learnt, pixel_values=batch.pixel_values
        ).logits

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
    rows = collate([sample])
    first = (rows.labels != IGNORED) & ((rows.labels != IGNORED).cumsum(-1) == 1)
    trained = model.read_rows(rows.rows, is_learnt=first, pixel_values=rows.pixel_values).logits
    message = {"role": "user", "content": f"<image_placeholder>\n{turn.question}"}
    longer = {"role": "user", "content": f"<image_placeholder>\n{'more ' * 9}"}
    picture = sources.scenes.picture(0)
    batch = run_processor().conversations([[message], [longer]], [[picture], [picture]])
    embeds = model.embed_conversation(batch.token_ids, batch.pixel_values)
    read = model.logits(embeds, batch.attention_mask)
    torch.testing.assert_close(trained[0], read[0, -1], atol=2e-5, rtol=0)
