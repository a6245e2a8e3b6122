"""The model is one of transformers': `generate` in all its ways, embeddings, loss."""

from typing import Any

import pytest
import torch
from tiny_model import qwen3_model, tiny_config, tiny_model
from torch import Tensor
from transformers import DynamicCache, StaticCache

from janusflow.config.errors import PromptError
from janusflow.inference.loading import load
from janusflow.model.layers import ConvNextBlock
from janusflow.model.modeling import JanusFlowForConditionalGeneration

CONFIG = tiny_config()
BOS, PAD = CONFIG.bos_token_id, CONFIG.pad_token_id
SPAN = [
    CONFIG.image_start_token_id,
    *[CONFIG.image_token_id] * CONFIG.generation.num_tokens,
    CONFIG.image_end_token_id,
]
ROWS = [[BOS, *SPAN, 40, *SPAN, 41], [BOS, *SPAN, 42, 43]]
"""Two images, and one."""
LONGEST = max(map(len, ROWS))
SETTINGS = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": [3, 4, 5, 6]}


@pytest.fixture(scope="module", params=["causal", "bidirectional", "qwen3"])
def model(request: pytest.FixtureRequest) -> JanusFlowForConditionalGeneration:
    model = qwen3_model() if request.param == "qwen3" else tiny_model(seed=3)
    torch.manual_seed(2)
    for parameter in model.llm.parameters():  # so that likeliest tokens depend on attention
        if parameter.ndim == 2:
            parameter.data.normal_(std=0.3)
    model.config.change_image_attention("causal" if request.param == "causal" else "bidirectional")
    return model


def batch() -> dict[str, Tensor]:
    rows = torch.tensor([[PAD] * (LONGEST - len(row)) + row for row in ROWS])
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return {"input_ids": rows, "attention_mask": (rows != PAD).long(), "pixel_values": pixels}


def alone(number: int) -> dict[str, Tensor]:
    pixels = batch()["pixel_values"]
    images = pixels[:2] if number == 0 else pixels[2:]
    return {"input_ids": torch.tensor([ROWS[number]]), "pixel_values": images}


def new_tokens(model: JanusFlowForConditionalGeneration, **settings: Any) -> list[list[int]]:
    length = settings["input_ids"].shape[1] if "input_ids" in settings else 0
    return model.generate(**{**SETTINGS, **settings})[:, length:].tolist()


def by_hand(model: JanusFlowForConditionalGeneration, inputs: dict[str, Tensor]) -> list[int]:
    """Greedy, the whole conversation read anew for every token."""
    ids, tokens = inputs["input_ids"], []
    for _ in range(SETTINGS["max_new_tokens"]):
        with torch.no_grad():
            logits = model(ids, pixel_values=inputs["pixel_values"]).logits[0, -1]
        logits[SETTINGS["suppress_tokens"]] = -torch.inf
        tokens.append(int(logits.argmax()))
        if tokens[-1] == CONFIG.eos_token_id:
            break
        ids = torch.cat([ids, torch.tensor([tokens[-1:]])], dim=1)
    return tokens


def trimmed(rows: list[list[int]]) -> list[list[int]]:
    """Rows without what follows their end."""
    return [row[: row.index(1) + 1] if 1 in row else row for row in rows]


# ---- generate ---------------------------------------------------------------------------------


def test_a_batch_answers_what_reading_all_anew_answers(model: JanusFlowForConditionalGeneration):
    expected = [by_hand(model, alone(number)) for number in (0, 1)]
    assert expected[0] != expected[1]
    assert trimmed(new_tokens(model, **batch())) == expected
    assert trimmed(new_tokens(model, **batch(), use_cache=False)) == expected
    for number in (0, 1):
        assert trimmed(new_tokens(model, **alone(number))) == [expected[number]]


def test_beams_and_several_answers_keep_a_rows_images_together(
    model: JanusFlowForConditionalGeneration,
):
    settings = {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.0}
    together = trimmed(new_tokens(model, **batch(), **settings))
    each = [trimmed(new_tokens(model, **alone(number), **settings)) for number in (0, 1)]
    assert together == each[0] + each[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"cache_implementation": "static"},
        {"prompt_lookup_num_tokens": 2},
        {"temperature": 1.0, "top_k": 1, "do_sample": True},
    ],
    ids=["static", "lookup", "sampled"],
)
def test_other_ways_give_the_greedy_tokens(
    model: JanusFlowForConditionalGeneration, settings: dict[str, Any]
):
    expected = trimmed(new_tokens(model, **alone(0)))
    assert trimmed(new_tokens(model, **alone(0), **settings)) == expected


def test_an_assistant_gives_the_greedy_tokens(model: JanusFlowForConditionalGeneration):
    inputs = {"input_ids": torch.tensor([[BOS, 40, 41, 42]])}
    expected = trimmed(new_tokens(model, **inputs))
    assert trimmed(new_tokens(model, **inputs, assistant_model=model)) == expected


def test_an_answer_goes_on_from_a_cache(model: JanusFlowForConditionalGeneration):
    """A second question after the first answer, whose tokens are not read again."""
    first = model.generate(**alone(0), **SETTINGS, return_dict_in_generate=True)
    asked = torch.cat([first.sequences, torch.tensor([[50, 51, 52]])], dim=1)
    whole = {"input_ids": asked, "pixel_values": alone(0)["pixel_values"]}
    expected = trimmed(new_tokens(model, **whole))
    assert trimmed(new_tokens(model, input_ids=asked, cache=first.cache)) == expected


def test_embeddings_that_hold_images_are_numbered_by_hand(
    model: JanusFlowForConditionalGeneration,
):
    inputs, own = alone(0), model.config
    numbers = [-1, *[0] * (len(SPAN) - 1), -1, -1, *[1] * (len(SPAN) - 1), -1, -1]
    blocks = torch.tensor([numbers]) if own.image_attention == "bidirectional" else None
    with torch.no_grad():
        embeds = model.embed_conversation(inputs["input_ids"], inputs["pixel_values"])
    expected = trimmed(new_tokens(model, **inputs))
    given = {"inputs_embeds": embeds, "block_sequence_ids": blocks}
    assert trimmed(new_tokens(model, **given)) == expected


@torch.no_grad()
@pytest.mark.parametrize("is_static", [False, True])
def test_an_image_after_a_cache_is_read_as_in_the_whole(
    model: JanusFlowForConditionalGeneration, is_static: bool
):
    ids, images = alone(0)["input_ids"], alone(0)["pixel_values"]
    config, first = model.config.llm_config, len(SPAN) + 2
    cache = DynamicCache(config=config)
    if is_static:
        cache = StaticCache(config=config, max_cache_len=64)
    model(ids[:, :first], cache=cache, pixel_values=images[:1])
    found = model(ids[:, first:], cache=cache, pixel_values=images[1:]).logits
    expected = model(ids, pixel_values=images).logits[:, first:]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_images_find_their_places_among_embeddings(model: JanusFlowForConditionalGeneration):
    inputs = batch()
    embeds = model.llm.get_input_embeddings()(inputs["input_ids"])
    given = {name: inputs[name] for name in ("attention_mask", "pixel_values")}
    found = model(inputs_embeds=embeds, **given).logits
    torch.testing.assert_close(found, model(**inputs).logits, atol=0, rtol=0)


def test_minis_answers_are_those_of_ask():
    jf = load("mini", device="cpu", dtype="float32")
    (image,) = jf.generate("a red circle", seed=0, steps=4)
    for question in ("What colour is the shape in this picture?", "무슨 색이야?"):
        inputs = jf.processor.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": image},
                        {"type": "text", "text": question},
                    ],
                }
            ],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        output = jf.model.generate(**inputs, max_new_tokens=16, do_sample=False)
        answer = jf.processor.decode(output[0, inputs["input_ids"].shape[1] :])
        assert answer.replace("<end>", "").strip() == jf.ask(image, question, max_new_tokens=16)


# ---- forward ----------------------------------------------------------------------------------


@torch.no_grad()
def test_forward_takes_what_transformers_models_take(model: JanusFlowForConditionalGeneration):
    inputs = batch()
    whole = model(**inputs, output_hidden_states=True)
    assert len(whole.hidden_states) == 1 + model.config.llm_config.num_hidden_layers
    last = model(**inputs, logits_to_keep=1, use_cache=False, return_dict=False)
    assert len(last) == 1
    torch.testing.assert_close(last[0], whole.logits[:, -1:])
    token = torch.tensor([[60], [61]])
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1)
    step = model(token, attention_mask=mask, cache=whole.cache).logits
    ids = torch.cat([inputs["input_ids"], token], dim=1)
    again = model(ids, attention_mask=mask, pixel_values=inputs["pixel_values"]).logits[:, -1:]
    torch.testing.assert_close(step, again, atol=2e-5, rtol=0)


@torch.no_grad()
def test_attention_implementations_reach_llm_and_tower_and_agree():
    model, inputs = tiny_model(), batch()
    assert {model.llm.config._attn_implementation, model.config._attn_implementation} == {"sdpa"}
    expected = model(**inputs).logits
    model.set_attn_implementation("eager")
    parts = (model, model.llm, model.understanding_encoder)
    assert {part.config._attn_implementation for part in parts} == {"eager"}
    output = model(**inputs, output_attentions=True)
    assert len(output.attentions) == model.config.llm_config.num_hidden_layers
    is_real = inputs["attention_mask"].bool()
    torch.testing.assert_close(output.logits[is_real], expected[is_real], atol=2e-5, rtol=0)


def test_unknown_keywords_and_both_kinds_of_inputs_are_refused():
    model, ids = tiny_model(), torch.tensor([[BOS, 40]])
    with pytest.raises(TypeError, match="pixel_value'"):
        model(ids, pixel_value=None)
    with pytest.raises(PromptError, match="got neither"):
        model()
    with pytest.raises(ValueError, match="got both"):
        model(ids, inputs_embeds=torch.zeros(1, 2, 32))


def test_the_loss_is_float32_in_a_half_precision_model():
    model, ids = tiny_model().to(torch.bfloat16), torch.tensor([[BOS, 40, 41]])
    output = model(ids, labels=ids)
    assert output.loss.dtype == torch.float32
    expected = torch.nn.functional.cross_entropy(output.logits[0, :-1].float(), ids[0, 1:])
    torch.testing.assert_close(output.loss, expected)


def test_shifted_labels_take_the_place_of_labels():
    model, ids = tiny_model(), torch.tensor([[BOS, 40, 41]])
    shifted = torch.tensor([[40, 41, -100]])
    wanted = model(ids, labels=ids).loss
    assert torch.equal(model(ids, labels=ids.flip(1), shift_labels=shifted).loss, wanted)


# ---- parts ------------------------------------------------------------------------------------


def test_embeddings_can_be_resized_and_replaced():
    model = tiny_model()
    model.resize_token_embeddings(300, mean_resizing=False)
    assert model.get_input_embeddings().weight.shape == (300, 32)
    assert model.get_output_embeddings() is model.llm.lm_head
    assert model.config.llm_config.vocab_size == model.llm.lm_head.out_features == 300
    assert model(torch.tensor([[BOS, 299]])).logits.shape == (1, 2, 300)
    assert model.get_decoder() is model.llm.model


def test_a_models_dtype_is_that_of_every_weight_whatever_its_parts_configurations_say():
    config = tiny_config()
    config.llm_config.dtype = config.vision_config.dtype = "float16"
    model = JanusFlowForConditionalGeneration(config)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_checkpointing_recomputes_all_blocks_and_changes_no_gradient():
    model = tiny_model().train()
    calls: list[int] = []
    for block in model.modules():
        if isinstance(block, ConvNextBlock):
            block.depthwise.register_forward_hook(lambda *_: calls.append(1))

    def gradients() -> list[Tensor]:
        model.zero_grad()
        calls.clear()
        inputs = batch()
        loss = model(**inputs, labels=inputs["input_ids"], use_cache=False).loss
        encoded = model.generation_encoder(torch.ones(1, 4, 8, 8), torch.tensor([0.3]))
        (loss + encoded.features.square().mean()).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain, num_calls = gradients(), len(calls)
    model.activation_checkpointing_enable()
    again = gradients()
    assert len(calls) == 2 * num_calls > 0
    for own, other in zip(plain, again, strict=True):
        torch.testing.assert_close(own, other, atol=0, rtol=0)


def test_response_norms_start_at_zero_where_a_file_lacks_them():
    model = tiny_model()
    for block in model.generation_encoder.blocks:
        block.response_norm.weight.data.fill_(torch.nan)
        model._init_weights(block.response_norm)
        assert not block.response_norm.weight.any()
