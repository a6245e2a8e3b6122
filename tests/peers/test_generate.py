"""transformers' `generate` over images and words: what its own GenerationTesterMixin checks."""

import copy
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    BatchFeature,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration

pytestmark = pytest.mark.gpu
NEW = 8
FEATURES = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}


@pytest.fixture(params=["causal", "bidirectional"])
def model(
    tiny: JanusFlow, device: str, request: pytest.FixtureRequest
) -> JanusFlowForConditionalGeneration:
    """On each device, with each kind of attention among an image's embeddings."""
    model = copy.deepcopy(tiny.model)
    model.config.change_image_attention(request.param)
    return model.to(device)


def asked(jf: JanusFlow, device: str, *questions: str) -> BatchFeature:
    """Questions about an image each, as a batch."""
    colours = ["red", "blue", "green"]
    images = [Image.new("RGB", (64, 64), colours[i]) for i in range(len(questions))]
    texts = [f"User: <image_placeholder>\n{question}\n\nAssistant:" for question in questions]
    return jf.processor(text=texts, images=images).to(device)


def new_tokens(sequences: torch.Tensor) -> torch.Tensor:
    return sequences[:, -NEW:]


@pytest.fixture
def one(tiny: JanusFlow, device: str) -> BatchFeature:
    return asked(tiny, device, "What is it?")


@pytest.fixture
def greedy(model: JanusFlowForConditionalGeneration, one: BatchFeature) -> torch.Tensor:
    """The likeliest tokens, found by reading all from the start for each."""
    token_ids = one["input_ids"]
    for _ in range(NEW):
        with torch.no_grad():
            logits = model(token_ids, pixel_values=one["pixel_values"]).logits[:, -1]
        logits[:, model.config.eos_token_id] = -torch.inf
        token_ids = torch.cat([token_ids, logits.argmax(-1, keepdim=True)], dim=1)
    return new_tokens(token_ids)


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"use_cache": False},
        {"cache_implementation": "static", "disable_compile": True},
        {"do_sample": True, "top_k": 1},
    ],
    ids=lambda way: "-".join(way) or "dynamic-cache",
)
def test_every_way_to_the_likeliest_tokens_finds_them(
    model: JanusFlowForConditionalGeneration, one: BatchFeature, greedy: torch.Tensor, way: dict
):
    assert torch.equal(new_tokens(model.generate(**one, **{**FEATURES, **way})), greedy)


@pytest.mark.parametrize("way", ["assistant_model", "prompt_lookup_num_tokens"])
def test_assistance_with_words_changes_nothing(
    model: JanusFlowForConditionalGeneration, tiny: JanusFlow, device: str, way: str
):
    """Without images: transformers hands none to an assistant, and looks up their placeholders."""
    words = tiny.processor(text="User: one two one two one\n\nAssistant:").to(device)
    help_given = {"assistant_model": copy.deepcopy(model), "prompt_lookup_num_tokens": 3}[way]
    found = model.generate(**words, **FEATURES, **{way: help_given})
    assert torch.equal(found, model.generate(**words, **FEATURES))


def test_rows_of_a_padded_batch_are_answered_as_alone(
    model: JanusFlowForConditionalGeneration, tiny: JanusFlow, device: str
):
    questions = ("What?", "What is this small thing in here?")
    found = new_tokens(model.generate(**asked(tiny, device, *questions), **FEATURES))
    short = new_tokens(model.generate(**asked(tiny, device, questions[0]), **FEATURES))
    assert torch.equal(found[:1], short)


def test_beams_find_what_is_at_least_as_likely(
    model: JanusFlowForConditionalGeneration, one: BatchFeature, greedy: torch.Tensor
):
    found = new_tokens(model.generate(**one, **FEATURES, num_beams=4))

    def likelihood(answer: torch.Tensor) -> float:
        token_ids = torch.cat([one["input_ids"], answer], dim=1)
        with torch.no_grad():
            logits = model(token_ids, pixel_values=one["pixel_values"]).logits[:, -NEW - 1 : -1]
        return float(logits.log_softmax(-1).gather(-1, answer[..., None]).sum())

    assert likelihood(found) >= likelihood(greedy) - 1e-4


def test_several_answers_keep_their_rows_images(
    model: JanusFlowForConditionalGeneration, tiny: JanusFlow, device: str
):
    batch = asked(tiny, device, "What is it?", "What is it?")
    found = model.generate(**batch, **FEATURES, num_beams=2, num_return_sequences=2)
    alone = [
        model.generate(
            input_ids=batch["input_ids"][i : i + 1],
            pixel_values=batch["pixel_values"][i : i + 1],
            **FEATURES,
            num_beams=2,
            num_return_sequences=2,
        )
        for i in range(2)
    ]
    assert torch.equal(found, torch.cat(alone))


def test_a_seed_draws_the_same_again(model: JanusFlowForConditionalGeneration, one: BatchFeature):
    def drawn() -> torch.Tensor:
        torch.manual_seed(0)
        return model.generate(**one, **{**FEATURES, "do_sample": True})

    assert torch.equal(drawn(), drawn())


def test_an_answer_goes_on_from_its_cache(
    model: JanusFlowForConditionalGeneration, one: BatchFeature, greedy: torch.Tensor
):
    half = {**FEATURES, "max_new_tokens": NEW // 2, "min_new_tokens": NEW // 2}
    first = model.generate(**one, **half, return_dict_in_generate=True)
    cache = first["cache"] if "cache" in first else first["past_key_values"]
    found = model.generate(input_ids=first.sequences, cache=cache, **half)
    assert torch.equal(new_tokens(found), greedy)


def test_embeddings_of_words_serve_as_words(
    model: JanusFlowForConditionalGeneration, one: BatchFeature, greedy: torch.Tensor
):
    embeds = model.get_input_embeddings()(one["input_ids"])
    found = model.generate(
        inputs_embeds=embeds,
        attention_mask=one["attention_mask"],
        pixel_values=one["pixel_values"],
        **FEATURES,
    )
    assert torch.equal(found, greedy)


def test_streamers_criteria_and_processors_are_heard(
    model: JanusFlowForConditionalGeneration, one: BatchFeature, greedy: torch.Tensor
):
    streamed = []

    class Streamer(TextStreamer):
        def put(self, value: torch.Tensor) -> None:
            streamed.append(value.flatten().tolist())

        def end(self) -> None:
            streamed.append("end")

    class Stop(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return input_ids[:, -1] == greedy[0, 2]

    class Forbid(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.index_fill(1, greedy[0, :1], -torch.inf)

    model.generate(**one, **FEATURES, streamer=Streamer(None))
    assert [tokens for [tokens] in streamed[1:-1]] == greedy[0].tolist()
    asked = {"max_new_tokens": NEW, "do_sample": False}
    stopped = model.generate(**one, **asked, stopping_criteria=StoppingCriteriaList([Stop()]))
    assert greedy[0, 2] in stopped[0, -1:]
    other = model.generate(**one, **asked, logits_processor=LogitsProcessorList([Forbid()]))
    assert greedy[0, 0] not in other[0, one["input_ids"].shape[1] :]


def test_it_says_what_ask_says(mini: JanusFlow, image: Image.Image):
    question = "What colour is the circle?"
    wanted = mini.ask(image, question)
    text = mini.processor.apply_chat_template(
        [{"role": "user", "content": f"<image_placeholder>\n{question}"}]
    )
    inputs = mini.processor(text=text, images=[image])
    found = mini.model.generate(**inputs, max_new_tokens=40, do_sample=False)
    answer = found[0, inputs["input_ids"].shape[1] :]
    assert mini.processor.decode(answer, skip_special_tokens=True).strip() == wanted
