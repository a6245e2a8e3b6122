"""The processor as transformers' users call it: arguments, chat templates, refusals by name."""

import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from janusflow.config.errors import ImageError, PromptError
from janusflow.processing.processor import JanusFlowProcessor

RED = Image.new("RGB", (20, 10), "red")
BLUE = Image.new("RGB", (10, 20), "blue")


def user(text: str) -> dict[str, str]:
    return {"role": "User", "content": text}


def test_calling_like_transformers_gives_the_same_tensors(tiny: JanusFlowProcessor):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
    text = tiny.apply_chat_template(messages, add_generation_prompt=True)
    assert text == "User: <image_placeholder>\n?\n\nAssistant:"
    called = tiny(images=[RED], text=[text])
    batch = tiny.conversations([messages], [[RED]])
    assert torch.equal(called["input_ids"], batch.input_ids)
    assert torch.equal(called["attention_mask"], batch.attention_mask)
    assert torch.equal(called["pixel_values"], batch.pixel_values)

    messages[0]["content"][0]["image"] = RED
    tokenized = tiny.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert torch.equal(tokenized["input_ids"], batch.input_ids)
    assert torch.equal(tokenized["pixel_values"], batch.pixel_values)


def test_calling_without_images_or_without_text_works(tiny: JanusFlowProcessor):
    assert set(tiny(text="hi")) == {"input_ids", "attention_mask"}
    assert tiny(images=RED)["pixel_values"].shape == (1, 3, 96, 96)
    with pytest.raises(PromptError, match="0 <image_placeholder> but 1 images"):
        tiny(images=RED, text="hi")


def two_turns(question: str = "hi") -> list[dict[str, Any]]:
    return [user(question), {"role": "assistant", "content": "a word"}]


def test_calls_take_transformers_arguments(tiny: JanusFlowProcessor):
    texts = ["one", "another one"]
    batch = tiny(text=texts)
    assert batch["attention_mask"][0, 0] == 0, "padded on the left"
    assert tiny(text=texts, padding=False, return_tensors=None)["input_ids"][0] == [
        token for token in batch["input_ids"][0].tolist() if token != tiny.pad_token_id
    ]
    long = tiny(text=texts, text_kwargs={"padding": "max_length", "max_length": 20})
    assert long["input_ids"].shape == (2, 20)
    assert tiny(text=texts, truncation=True, max_length=3)["input_ids"].shape == (2, 3)
    assert isinstance(tiny(text=texts, return_tensors="np")["input_ids"], np.ndarray)
    plain = tiny(images=RED, images_kwargs={"do_normalize": False})["pixel_values"]
    assert plain.min() == 0
    length = tiny.conversations([[user("hi")]])["input_ids"].shape[1]
    assert length == 21, "neither padding nor truncation of an earlier call"


def test_images_may_be_nested_arrays_or_open_files(tiny: JanusFlowProcessor):
    tag = tiny.image_token
    pixels = np.asarray(RED)
    expected = tiny.image_processor([RED, BLUE, RED]).pixel_values
    buffer = io.BytesIO()
    RED.save(buffer, "PNG")
    buffer.seek(0)
    for images in (
        [[RED, BLUE], [RED]],
        [[pixels, BLUE], [buffer]],
        [[torch.from_numpy(pixels.copy()).permute(2, 0, 1), BLUE], [pixels / 255]],
        [RED, BLUE, RED],
    ):
        batch = tiny(text=[f"{tag} and {tag}", f"{tag}?"], images=images)
        assert torch.equal(batch["pixel_values"], expected)
    assert tiny(text=f"{tag}?", images=pixels)["pixel_values"].shape[0] == 1
    assert tiny(images=np.stack([pixels, pixels]))["pixel_values"].shape[0] == 2
    with pytest.raises(PromptError, match="text 1 has 2 <image_placeholder> but 1 images"):
        tiny(text=[f"{tag} and {tag}", f"{tag}?"], images=[[RED], [BLUE, RED]])


def test_chat_templates_take_one_conversation_or_several(tiny: JanusFlowProcessor):
    longer = [user("<image_placeholder>\nhi"), *two_turns()[1:], user("more")]
    several = [two_turns(), longer]
    texts = tiny.apply_chat_template(several)
    assert texts == [tiny.apply_chat_template(each) for each in several]
    assert tiny.tokenizer.apply_chat_template(several, tokenize=False) == texts
    batch = tiny.apply_chat_template(
        several,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"images": [[], [RED]]},
    )
    assert torch.equal(batch["input_ids"], tiny(text=texts, images=[[], [RED]])["input_ids"])
    ids = tiny.apply_chat_template(two_turns(), tokenize=True)
    assert torch.equal(ids, tiny(text=texts[0])["input_ids"])


def test_generation_prompts_are_added_only_when_asked_for(tiny: JanusFlowProcessor):
    asked = [user("hi")]
    without = tiny.apply_chat_template(asked, tokenize=True)
    with_prompt = tiny.apply_chat_template(asked, tokenize=True, add_generation_prompt=True)
    assert tiny.decode(without[0]) == "User: hi"
    assert tiny.decode(with_prompt[0]) == "User: hi\n\nAssistant:"


def test_an_answer_begun_goes_on_or_is_closed_as_asked(tiny: JanusFlowProcessor):
    begun = tiny.conversations([two_turns(), [user("hi")]], continue_final_message=True)
    first, second = (
        tiny.decode(row[mask.bool()], skip_special_tokens=False)
        for row, mask in zip(begun["input_ids"], begun["attention_mask"], strict=True)
    )
    assert first.endswith("User: hi\n\nAssistant: a word")
    assert second.endswith("User: hi\n\nAssistant:")
    assert tiny.conversations([two_turns()])["input_ids"][0, -1] == tiny.eos_token_id
    text = tiny.apply_chat_template(two_turns(), continue_final_message=True)
    assert text == "User: hi\n\nAssistant: a word"
    with pytest.raises(PromptError, match="continue_final_message"):
        tiny.apply_chat_template(two_turns(), add_generation_prompt=True)


def test_the_answers_tokens_are_marked_for_training(tiny: JanusFlowProcessor):
    batch = tiny.apply_chat_template(
        [user("<image_placeholder> hi"), *two_turns()[1:]],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        return_tensors="pt",
        processor_kwargs={"images": [RED]},
    )
    learnt = batch["input_ids"][batch["assistant_masks"].bool()]
    assert learnt.tolist() == [*b" a word", tiny.eos_token_id]


def test_system_prompts_are_kept_wherever_they_stand(tiny: JanusFlowProcessor):
    system = {"role": "developer", "content": "Be kind."}
    for messages in ([system, user("hi")], [user("hi"), system]):
        text = tiny.apply_chat_template(messages, add_generation_prompt=True)
        assert text == "Be kind.\n\nUser: hi\n\nAssistant:"
    assert tiny.apply_chat_template([user("hi")], system_prompt="No.") == "No.\n\nUser: hi"


def test_special_tokens_typed_in_texts_are_refused_alike(tiny: JanusFlowProcessor):
    special = [token.content for token in tiny.tokenizer.added_tokens_decoder.values()]
    assert len(special) == 7
    for token in special:
        text = f"a {token} b"
        with pytest.raises(PromptError, match=re.escape(f"{token} in its text")):
            tiny.prompts(["fine", text])
        turns = [*two_turns(), user("and?")]
        turns[1]["content"] = text
        for messages in ([{"role": "system", "content": text}, user("hi")], turns, [user(text)]):
            if token == tiny.image_token and messages != turns and len(messages) == 1:
                continue  # an image goes there, and is missed
            with pytest.raises(PromptError) as error:
                tiny.conversations([messages])
            assert "\n" not in str(error.value)


def test_what_is_no_text_is_refused(tiny: JanusFlowProcessor):
    for text in ("lone \ud800", "\udfff"):
        with pytest.raises(PromptError, match="no Unicode text"):
            tiny.prompts([text])
        with pytest.raises(PromptError, match=r"conversation 1: .*no Unicode text"):
            tiny.conversations([[user(text)]])
        with pytest.raises(ValueError, match="no Unicode text"):
            tiny(text=text)


def test_arguments_that_mean_nothing_here_are_refused_by_name(tiny: JanusFlowProcessor):
    with pytest.raises(PromptError, match="max_len,"):
        tiny(text="hi", max_len=3, paddings=True)
    with pytest.raises(PromptError, match="videos"):
        tiny(text="hi", videos=[RED])
    with pytest.raises(PromptError, match="text=None and images=None"):
        tiny()
    with pytest.raises(PromptError, match="tools="):
        tiny.apply_chat_template([user("hi")], tools=[{"name": "search"}])
    with pytest.raises(ImageError, match="not fetched"):
        tiny(images="https://example.org/a.png")
    with pytest.raises(PromptError, match="not fetched"):
        tiny.apply_chat_template(
            [{"role": "user", "content": [{"type": "image", "url": "http://example.org/a.png"}]}],
            tokenize=True,
        )


def test_servers_are_told_how_many_placeholders_images_take(tiny: JanusFlowProcessor):
    told = tiny._get_num_multimodal_tokens(image_sizes=[(10, 20), (20, 10)])
    batch = tiny(text=[tiny.image_tag] * 2, images=[RED, BLUE], return_mm_token_type_ids=True)
    assert batch["mm_token_type_ids"].sum(1).tolist() == told.num_image_tokens
    assert tiny._get_num_multimodal_tokens().num_image_tokens is None


def test_a_template_of_your_own_gets_the_messages_as_they_are(tiny: JanusFlowProcessor):
    template = "{% for message in messages %}{{ message.role }}={{ message.content }};{% endfor %}"
    text = tiny.apply_chat_template([user("a"), user("b")], chat_template=template)
    assert text == "User=a;User=b;"


def test_answers_are_decoded_as_transformers_does(tiny: JanusFlowProcessor):
    ids = [[104, 105, tiny.eos_token_id], [104, 33, tiny.pad_token_id]]
    assert tiny.decode(ids[0], clean_up_tokenization_spaces=True) == "hi"
    assert tiny.batch_decode(ids, skip_special_tokens=True) == ["hi", "h!"]
    assert tiny.post_process_image_text_to_text(torch.tensor(ids)) == ["hi", "h!"]
    assert tiny.model_input_names == ["pixel_values", "input_ids", "attention_mask"]
