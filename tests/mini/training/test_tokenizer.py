"""The tokenizer of mini: fixed special ids, nothing lost in any language, the same each time."""

import copy
import json
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, normalizers

import janusflow
from janusflow.mini.language.captions import caption
from janusflow.mini.scenes.scene import sample_scene
from janusflow.mini.training.tokenizer import SPECIAL_TOKENS, mini_processor, texts, train_tokenizer
from janusflow.processing.processor import JanusFlowProcessor

VOCAB_SIZE = 600
MINI = Path(janusflow.__file__).parent / "mini" / "assets"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(vocab_size=VOCAB_SIZE, num_texts=120, seed=0)


@pytest.fixture(scope="module")
def processor(tokenizer: Tokenizer) -> JanusFlowProcessor:
    return mini_processor(tokenizer, image_size=64, num_image_tokens=16)


def test_the_special_tokens_have_ids_0_to_6_in_the_releases_order(tokenizer: Tokenizer):
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(7))
    assert SPECIAL_TOKENS == (
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜▁pad▁｜>",
        "<image_placeholder>",
        "<｜begin▁of▁generation｜>",
        "<image_beg>",
        "<image_end>",
    )
    assert tokenizer.get_vocab_size() == VOCAB_SIZE


def test_the_processor_finds_every_special_token(processor: JanusFlowProcessor):
    assert (processor.bos_token_id, processor.eos_token_id, processor.pad_token_id) == (0, 1, 2)
    assert processor.image_token_id == 3
    assert (processor.image_start_token_id, processor.image_end_token_id) == (5, 6)
    assert len(processor.tokenizer) == VOCAB_SIZE


def test_captions_in_both_languages_come_back(tokenizer: Tokenizer):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        text = caption(sample_scene(rng), rng, language="ko" if seed % 2 else "en")
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text


@cache
def hardly_trained() -> Tokenizer:
    return train_tokenizer(vocab_size=300, num_texts=5, seed=0)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=40))
def test_any_text_comes_back_in_its_usual_form_even_what_was_never_seen(text: str):
    tokenizer = hardly_trained()
    usual = unicodedata.normalize("NFKC", text)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == usual


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_mini_reads_korean_in_any_unicode_form_alike(form: str):
    """What its scenes are called is in the usual form already, so that nothing has changed."""
    mini = JanusFlowProcessor.from_pretrained(MINI)
    plain = copy.deepcopy(mini.tokenizer.backend_tokenizer)
    plain.normalizer = normalizers.Sequence([])
    for text in texts(30, seed=3):
        expected = plain.encode(text).ids
        assert mini.tokenizer(unicodedata.normalize(form, text)).input_ids == expected


def test_mini_says_how_much_it_reads():
    config = json.loads((MINI / "config.json").read_text())
    mini = JanusFlowProcessor.from_pretrained(MINI)
    assert mini.tokenizer.model_max_length == config["llm_config"]["max_position_embeddings"]


def test_what_was_learnt_is_short(tokenizer: Tokenizer):
    """Merges were learnt in both languages: fewer tokens than half the bytes."""
    for text in ("a picture of a red circle", "빨간 원이 있는 그림"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert len(ids) < len(text.encode()) / 2


def test_special_tokens_are_whole_inside_a_text(tokenizer: Tokenizer):
    ids = tokenizer.encode("a<image_placeholder>b", add_special_tokens=False).ids
    assert ids.count(3) == 1
    assert len(ids) == 3


def test_the_same_seed_trains_the_same_tokenizer():
    first, again, other = (
        train_tokenizer(vocab_size=300, num_texts=4, seed=seed).to_str() for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_texts_are_conversations_in_both_languages():
    found = list(texts(4, seed=0))
    assert all(text.startswith("User: ") and "\n\nAssistant:" in text for text in found)
    is_korean = [any("가" <= letter <= "힣" for letter in text) for text in found]
    assert any(is_korean)
    assert not all(is_korean)


def test_a_saved_processor_reads_the_same(processor: JanusFlowProcessor, tmp_path: Path):
    processor.save_pretrained(tmp_path)
    loaded = JanusFlowProcessor.from_pretrained(tmp_path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    message = {"role": "user", "content": "<image_placeholder>\n무슨 색이에요?"}
    before, after = (p.conversations([[message]], [[image]]) for p in (processor, loaded))
    assert before.input_ids.tolist() == after.input_ids.tolist()
    assert before.pixel_values is not None
    assert after.pixel_values is not None
    assert before.pixel_values.equal(after.pixel_values)
    read = [p.prompts(["a red circle"]).input_ids.tolist() for p in (processor, loaded)]
    assert read[0] == read[1]
