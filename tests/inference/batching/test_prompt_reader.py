"""What was read is not read again, and nobody can tell from the answers, to the bit."""

from typing import Any

import pytest
import torch
from PIL import Image
from same_images import levels
from tiny_model import tiny_config, tiny_janusflow
from transformers import MistralConfig

from janusflow.inference.answering.answers import QuestionRequest
from janusflow.inference.answering.chat import Message, question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching import scheduler as scheduler_module
from janusflow.inference.batching.prompt_reader import PromptReader, piece_ends
from janusflow.inference.batching.reuse import ReuseCache
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration

RED, BLUE = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (50, 30), "blue")
SYSTEM: Message = {"role": "system", "content": "You are brief."}
TURNS: list[Message] = [
    SYSTEM,
    question_message([RED], "What is it?"),
    {"role": "assistant", "content": "A square."},
    question_message([BLUE, RED], "Which of them is red?"),
]
CONVERSATIONS: list[list[Message]] = [
    TURNS,
    [SYSTEM, question_message([RED], "What is its colour?")],
    [SYSTEM, question_message([BLUE], "What is it?")],
    [question_message([RED], "What is it?")],
    [SYSTEM, question_message([], "누구?")],
    TURNS[:2],
    TURNS,
]


SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)


@pytest.fixture(params=["causal", "bidirectional"])
def either(request: pytest.FixtureRequest) -> JanusFlow:
    """Its answers are as long as they may be; images attend to themselves in one way or both."""
    jf = tiny_janusflow()
    jf.model.config.eos_token_id = -1
    jf.model.config.image_attention = request.param
    return jf


@pytest.fixture
def endless(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """Its answers are as long as they may be."""
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    return jf


class Forwards:
    """Images that the tower encodes, in all its forwards."""

    def __init__(self, jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        real = jf.model.understanding_features

        def counted(pixels: torch.Tensor) -> torch.Tensor:
            self.images += len(pixels)
            return real(pixels)

        monkeypatch.setattr(jf.model, "understanding_features", counted)


def ask(scheduler: StepScheduler, messages: list[Message], **chosen: Any) -> QuestionRequest:
    given: dict[str, Any] = {"max_new_tokens": 5, "logprobs": 3} | chosen
    settings = AnsweringSettings(**given)
    request = scheduler.submit_question(messages, settings=settings, seed=1)
    scheduler.run_until_idle()
    return request


def told(request: QuestionRequest) -> Any:
    return request.result(0.0), request.token_ids, request.logprobs


def values(reader: PromptReader) -> list[torch.Tensor]:
    """All tensors that are kept."""
    found: list[torch.Tensor] = []
    for value, _ in reader.reuse._entries.values():
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif hasattr(value, "layers"):
            found += [value.logits, *(each for pair in value.layers for each in pair)]
        else:
            layers = value.cache.cache.layers
            found += [each for layer in layers for each in (layer.keys, layer.values)]
            found.append(value.cache.attention_mask)
    return found


def test_answers_are_equal_to_the_bit_with_and_without_reuse(either: JanusFlow):
    """Tokens and logprobs; cold, warm, partly warm, and with room for hardly anything."""
    expected = [told(ask(StepScheduler(either, reuse_bytes=0), each)) for each in CONVERSATIONS]
    warm, tight = StepScheduler(either), StepScheduler(either, reuse_bytes=80_000)
    for scheduler in (warm, tight):
        for messages, answer in zip(CONVERSATIONS * 2, expected * 2, strict=True):
            assert told(ask(scheduler, messages)) == answer
    assert warm.counts.prompt_tokens_reused > warm.counts.prompt_tokens_read
    assert 0 < tight.counts.prompt_tokens_reused < warm.counts.prompt_tokens_reused
    # Each is what it is alone, up to the rounding of other pieces.
    for messages, answer in zip(CONVERSATIONS, expected, strict=True):
        assert either.answer([messages], max_new_tokens=5) == [answer[0]]


def test_conversations_side_by_side_do_not_share_what_grows(endless: JanusFlow):
    """All begin with the same pieces and are under way at once, with other lengths."""
    scheduler = StepScheduler(endless)
    kept: list[torch.Tensor] = []
    alone = [ask(StepScheduler(endless), TURNS, max_new_tokens=n).token_ids for n in (3, 9, 6)]
    ask(scheduler, TURNS)
    before = values(scheduler._reader)
    kept = [each.clone() for each in before]
    settings = [AnsweringSettings(max_new_tokens=n) for n in (3, 9, 6)]
    together = [scheduler.submit_question(TURNS, settings=each) for each in settings]
    scheduler.run_until_idle()
    assert [each.token_ids for each in together] == alone
    assert all(now.equal(then) for now, then in zip(before, kept, strict=True))
    assert [each.num_reused_tokens for each in together] == [together[0].num_prompt_tokens] * 3


def test_images_are_equal_to_the_bit_with_and_without_reuse(jf: JanusFlow):
    """Latents at every step, and pixels; entries stay as they are."""

    def drawn(scheduler: StepScheduler) -> tuple[list[torch.Tensor], list[Image.Image]]:
        latents: list[torch.Tensor] = []
        handles = [
            scheduler.submit_drawing(
                "a star",
                seed=seed,
                negative_prompt=negative,
                settings=DrawingSettings(steps=3, guidance=guidance, plan="never"),
                on_step=lambda step: latents.append(step.info.predicted_data.clone()),
            )
            for seed, negative, guidance in [(1, None, 2.0), (2, "blue", 2.0), (3, None, 1.0)]
        ]
        scheduler.run_until_idle()
        return latents, [image for handle in handles for image in handle.result(0.0)]

    warm = StepScheduler(jf)
    expected = drawn(StepScheduler(jf, reuse_bytes=0))
    first = drawn(warm)
    entries = values(warm._reader)
    copies = [each.clone() for each in entries]
    read = warm.counts.prompt_tokens_read
    second = drawn(warm)
    for latents, images in (first, second):
        assert all(ours.equal(own) for ours, own in zip(latents, expected[0], strict=True))
        assert not any(
            levels(ours, own).any() for ours, own in zip(images, expected[1], strict=True)
        )
    assert warm.counts.prompt_tokens_read == read
    assert warm.counts.reuse_entries == 3
    assert all(now.equal(then) for now, then in zip(entries, copies, strict=True))


def test_ten_questions_about_an_image_run_the_tower_once_and_read_each_token_once(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch, llm_count: Any
):
    tower, scheduler = Forwards(endless, monkeypatch), StepScheduler(endless)
    asked = [[SYSTEM, question_message([RED], f"Question {number}?")] for number in range(10)]
    requests = [
        scheduler.submit_question(each, settings=AnsweringSettings(max_new_tokens=1))
        for each in asked
    ]
    scheduler.run_until_idle()
    assert tower.images == scheduler.counts.images_encoded == 1
    assert scheduler.counts.images_reused == 9
    ids = [endless.processor.conversations([each]).input_ids[0].tolist() for each in asked]
    end = ids[0].index(endless.processor.image_end_token_id) + 1
    assert all(each[:end] == ids[0][:end] for each in ids)
    # Nobody reads the only token of an answer.
    assert llm_count.positions == end + sum(len(each) - end for each in ids)
    assert [each.num_reused_tokens for each in requests] == [0] + [end] * 9
    assert scheduler.counts.prompt_tokens_reused == 9 * end
    # Another system text: the prefix is another one, the image's features are the same.
    other: Message = {"role": "system", "content": "You are long-winded."}
    ask(scheduler, [other, question_message([RED], "What is it?")])
    assert tower.images == 1


def test_a_popular_drawing_prompt_and_its_plan_question_are_read_once(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch, llm_count: Any
):
    monkeypatch.setattr(jf.model.config, "plans", True)
    monkeypatch.setattr(scheduler_module, "HOW", AnsweringSettings(max_new_tokens=2))
    scheduler = StepScheduler(jf)
    reads: list[int] = []
    encode = jf.model.encode_prompt
    monkeypatch.setattr(jf.model, "encode_prompt", lambda prompt: reads.append(1) or encode(prompt))
    for seed in range(4):
        scheduler.submit_drawing(
            "a star", seed=seed, settings=DrawingSettings(steps=2, plan="never")
        )
        scheduler.submit_plan("a star", seed=seed)
    scheduler.run_until_idle()
    assert len(reads) == 1
    counts = scheduler.counts
    assert counts.reuse_entries == 2
    assert counts.prompt_tokens_reused == 3 * counts.prompt_tokens_read


def test_a_system_text_is_read_once(endless: JanusFlow):
    scheduler = StepScheduler(endless)
    for number in range(5):
        ask(scheduler, [SYSTEM, question_message([], f"{number}?")])
    ids = endless.processor.conversations([[SYSTEM, question_message([], "1?")]]).input_ids
    user = endless.processor.tokenizer.encode("User:", add_special_tokens=False)
    system, _ = piece_ends(ids[0].tolist(), user=user, ends=())
    assert endless.processor.decode(ids[0, :system]) == "You are brief.\n\n"
    assert scheduler.counts.prompt_tokens_reused == 4 * system


@pytest.mark.slow
def test_bytes_stay_under_the_bound_under_1000_distinct_prompts(jf: JanusFlow):
    reader, bound = PromptReader(jf, max_bytes=200_000), 200_000
    for number in range(500):
        reader.read_texts([f"{number}"], is_guided=True, negative_prompt=None)
        inputs = jf.prepare_inputs([[question_message([], f"{number}?")]], allow_paths=False)
        reader.read_conversation(inputs)
        assert reader.reuse.num_bytes <= bound
    assert reader.reuse.num_bytes == sum(each.nbytes for each in values(reader)) > bound // 2
    assert reader.reuse.misses == 1000


def test_an_llm_that_forgets_reads_whole_conversations_and_keeps_nothing_of_them():
    config = tiny_config()
    same = {name: getattr(config.llm_config, name) for name in SIZES}
    config.llm_config = MistralConfig(**same, sliding_window=50)
    jf = tiny_janusflow()
    jf.model = JanusFlowForConditionalGeneration(config).eval()
    reader = PromptReader(jf, max_bytes=2**20)
    inputs = jf.prepare_inputs([TURNS], allow_paths=False)
    (first, _), (second, _) = (reader.read_conversation(inputs) for _ in range(2))
    assert first.equal(second)
    assert (len(reader.reuse), reader.images_encoded, reader.tokens_reused) == (0, 6, 0)
    assert reader.tokens_read == 2 * inputs["input_ids"].numel()


def test_pieces_end_after_the_system_text_images_and_answers():
    user, image_end, eos = [7, 8], 5, 1
    tokens = [0, 3, 3, 7, 8, 4, image_end, 9, eos, 7, 8, 4, image_end, image_end, 2]
    assert piece_ends(tokens, user=user, ends={image_end, eos}) == [3, 7, 9, 13, 14, 15]
    # Without a system text only the begin token is before the user.
    assert piece_ends([0, 7, 8, 2], user=user, ends={image_end, eos}) == [4]
    assert piece_ends([0, 7, 8, eos], user=user, ends={image_end, eos}) == [4]


def test_the_least_recently_used_goes_first_and_what_is_too_large_is_not_kept():
    reuse = ReuseCache(10)
    for name, size in (("a", 4), ("b", 4)):
        assert reuse.find(name) is None
        reuse.keep(name, name.upper(), size)
    assert reuse.find("a") == "A"
    reuse.keep("c", "C", 5)
    reuse.keep("d", "D", 11)
    assert [reuse.find(name) for name in "abcd"] == ["A", None, "C", None]
    assert (reuse.num_bytes, len(reuse), reuse.hits, reuse.misses) == (9, 2, 3, 4)
