"""Token ids, masks and pixels equal the release's; what would misplace an image is refused."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from janusflow.config.errors import ConfigError, PromptError
from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.tokenizer import IMAGE_TAGS

RED = Image.new("RGB", (20, 10), "red")
BLUE = Image.new("RGB", (10, 20), "blue")


@pytest.fixture(scope="module")
def told(reference: Path) -> dict[str, Any]:
    return json.loads((reference / "templates.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["processor_config_tags", "class_default_tags"])
def tag_set(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def real(
    real_tokenizer: PreTrainedTokenizerFast, told: dict[str, Any], tag_set: str
) -> JanusFlowProcessor:
    ids = told["tag_ids"][tag_set]
    tags = {key: ids[key][0] for key in IMAGE_TAGS}
    return JanusFlowProcessor(JanusFlowImageProcessor(), real_tokenizer, **tags)


def user(text: str) -> dict[str, str]:
    return {"role": "User", "content": text}


# ---- equal to the release ---------------------------------------------------------------------


def test_missing_tags_get_the_releases_ids_and_padding_falls_back_to_the_end(
    real: JanusFlowProcessor,
    real_tokenizer: PreTrainedTokenizerFast,
    told: dict[str, Any],
    tag_set: str,
):
    ids = told["tag_ids"][tag_set]
    assert (real.bos_token_id, real.eos_token_id) == (ids["bos"], ids["eos"])
    assert (real.pad_token_id, len(real.tokenizer)) == (ids["pad_id"], ids["len"])
    for key in ("image_tag", "image_gen_tag", "image_start_tag", "image_end_tag"):
        tag, token_id = ids[key]
        assert real.tokenizer.convert_tokens_to_ids(tag) == token_id
    assert len(real_tokenizer) < len(real.tokenizer), "the caller's tokenizer is left alone"


def test_conversations_have_the_releases_token_ids(
    real: JanusFlowProcessor, told: dict[str, Any], tag_set: str
):
    for name, case in told["understanding"].items():
        num_images = case["deepseek_old"].count("<image_placeholder>")
        batch = real.conversations([case["conversation"]], [[RED] * num_images])
        row = batch.input_ids[0]
        expanded = case[f"expanded.{tag_set}"]
        assert row.dtype == torch.int64
        assert len(row) == expanded["length"], name
        digest = hashlib.sha256(row.numpy().tobytes()).hexdigest()
        assert digest == expanded["sha256_int64"], name
        starts = (row == real.image_start_token_id).nonzero()[:, 0].tolist()
        ends = (row == real.image_end_token_id).nonzero()[:, 0].tolist()
        assert (starts, ends) == (expanded["start_positions"], expanded["end_positions"])
        assert [end - start for start, end in zip(starts, ends, strict=True)] == expanded[
            "num_image_tokens"
        ]
        is_patch = row == real.image_token_id
        folded = row[~is_patch & (row != real.image_end_token_id)]
        folded = folded.where(folded != real.image_start_token_id, real.image_token_id)
        assert folded.tolist() == case[f"ids_before_expansion.{tag_set}"]


def test_drawing_prompts_have_the_releases_token_ids_but_the_last(
    real: JanusFlowProcessor, told: dict[str, Any], tag_set: str
):
    for case in told["generation"]:
        got = real.prompts([case["prompt"]]).input_ids[0].tolist()
        assert got == case[f"ids_demo.{tag_set}"][:-1] == case[f"ids_readme.{tag_set}"][:-1]


def test_understanding_cases_equal_the_reference(tiny: JanusFlowProcessor, reference: Path):
    spec = importlib.util.spec_from_file_location("reference_recipe", reference / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    meta = json.loads((reference / "meta.json").read_text(encoding="utf-8"))
    shapes = {name: shape for name, *shape in recipe.IMAGES}
    expected = load_file(reference / "understanding.safetensors")
    for name, case in meta["files"]["understanding"]["cases"].items():
        questions = [
            text.removeprefix("User: ").removesuffix("\n\nAssistant:") for text in case["sft"]
        ]
        images = [
            [Image.fromarray(recipe.image(one, *shapes[one], meta["seed"])) for one in row]
            for row in case["images"]
        ]
        batch = tiny.conversations([[user(text)] for text in questions], images)
        assert torch.equal(batch.input_ids, expected[f"{name}.input_ids"])
        assert torch.equal(batch.attention_mask, expected[f"{name}.attention_mask"])
        if f"{name}.pixel_values" in expected:
            assert torch.equal(batch.pixel_values, expected[f"{name}.pixel_values"][0])
        if name == "batch":
            row_1 = expected["batch.pixel_values_row1"][0, :1]
            assert torch.equal(batch.pixel_values[2:], row_1)
        if name == "text":
            assert "pixel_values" not in batch


def test_the_drawing_prompt_of_the_small_model_equals_the_reference(
    tiny: JanusFlowProcessor, reference: Path
):
    meta = json.loads((reference / "meta.json").read_text(encoding="utf-8"))
    batch = tiny.prompts([meta["texts"]["generation"]])
    told = meta["files"]["velocity"]
    text = told["prompt"].removesuffix("<begin_of_image>")
    assert batch.input_ids[0].tolist() == [tiny.bos_token_id, *text.encode()]
    assert batch.input_ids.shape[1] == told["prompt_len"] - 1


# ---- batches ----------------------------------------------------------------------------------


def test_padding_is_on_the_left_and_moves_no_position(tiny: JanusFlowProcessor):
    batch = tiny.prompts(["a", "a long red line"])
    alone = tiny.prompts(["a"])
    length = alone.input_ids.shape[1]
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(batch[name][0, -length:], alone[name][0])
    assert batch.input_ids[0, :-length].unique().tolist() == [tiny.pad_token_id]
    assert batch.attention_mask[0, :-length].sum() == 0


def test_images_come_in_reading_order(tiny: JanusFlowProcessor):
    tag = tiny.image_token
    batch = tiny.conversations(
        [[user(f"{tag} and {tag}")], [user("none")], [user(tag)]], [[RED, BLUE], [], [RED]]
    )
    assert torch.equal(batch.pixel_values, tiny.image_processor([RED, BLUE, RED]).pixel_values)
    num_spans = (batch.input_ids == tiny.image_start_token_id).sum(-1)
    assert num_spans.tolist() == [2, 0, 1]
    assert (batch.input_ids == tiny.image_token_id).sum() == 3 * tiny.num_image_tokens


def test_decoding_inverts_encoding(tiny: JanusFlowProcessor):
    row = tiny.conversations([[user("Grüße, 고양이! 図")]])
    assert tiny.decode(row.input_ids[0]) == "User: Grüße, 고양이! 図\n\nAssistant:"
    assert tiny.decode([104, 105, tiny.eos_token_id]) == "hi"


def test_the_processors_system_prompt_is_a_default(tiny_tokenizer: PreTrainedTokenizerFast):
    processor = JanusFlowProcessor(
        JanusFlowImageProcessor(image_size=96), tiny_tokenizer, system_prompt="Be brief."
    )

    def read(*messages: dict[str, str]) -> str:
        return processor.decode(processor.conversations([messages]).input_ids[0])

    assert read(user("hi")) == "Be brief.\n\nUser: hi\n\nAssistant:"
    assert read({"role": "system", "content": ""}, user("hi")) == "User: hi\n\nAssistant:"
    assert processor.decode(processor.prompts(["hi"]).input_ids[0]) == "User: hi\n\nAssistant:"


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "images", "expected"),
    [
        ("<image_placeholder> what?", [], "1 <image_placeholder> without an image but 0"),
        ("what?", [RED], "0 <image_placeholder> without an image but 1"),
        ("a <begin_of_image> b", [], "<begin_of_image> in its text"),
        ("<image_placeholder><begin_of_image>", [RED], "<begin_of_image> in its text"),
    ],
)
def test_texts_that_would_misplace_images_are_refused(
    tiny: JanusFlowProcessor, text: str, images: list[Image.Image], expected: str
):
    with pytest.raises(PromptError, match=expected) as error:
        tiny.conversations([[user("fine")], [user(text)]], [[], images])
    assert "conversation 2" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_placeholder_in_a_system_prompt_is_refused(tiny_tokenizer: PreTrainedTokenizerFast):
    processor = JanusFlowProcessor(
        JanusFlowImageProcessor(), tiny_tokenizer, system_prompt="<image_placeholder>"
    )
    with pytest.raises(PromptError, match="1 <image_placeholder> but 0 images"):
        processor.conversations([[user("hi")]])
    system = {"role": "system", "content": "<image_placeholder>"}
    with pytest.raises(PromptError, match="image in a message of role 'system'"):
        processor.conversations([[system, user("hi")]])


def test_drawing_prompts_hold_no_tags(tiny: JanusFlowProcessor):
    for tag in (tiny.image_tag, tiny.image_gen_tag, tiny.image_start_tag, tiny.image_end_tag):
        with pytest.raises(PromptError, match=tag):
            tiny.prompts([f"a {tag}"])


def test_empty_and_uneven_batches_are_refused(tiny: JanusFlowProcessor):
    with pytest.raises(PromptError, match="0 prompts"):
        tiny.prompts([])
    with pytest.raises(PromptError, match="0 conversations"):
        tiny.conversations([])
    with pytest.raises(PromptError, match="2 lists of images"):
        tiny.conversations([[user("hi")]], [[], []])


def test_a_tokenizer_without_end_token_is_refused(tiny_tokenizer: PreTrainedTokenizerFast):
    import tokenizers

    bare = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0}, merges=[]))
    with pytest.raises(ConfigError, match="bos_token"):
        JanusFlowProcessor(
            JanusFlowImageProcessor(), PreTrainedTokenizerFast(tokenizer_object=bare)
        )
