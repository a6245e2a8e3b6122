"""Claims about token ids: those the release's processor would give."""

import json
import shutil
from pathlib import Path

import pytest
from release_folder import TOKEN_IDS

from janusflow.config.errors import CheckpointError
from janusflow.interop.tokens import read_token_ids


@pytest.mark.parametrize("tags", ["processor_config_tags", "class_default_tags"])
def test_ids_equal_those_recorded_from_the_release(reference: Path, tmp_path: Path, tags: str):
    shutil.copy(reference / "tokenizer" / "tokenizer.json", tmp_path)
    (tmp_path / "processor_config.json").write_text("{}")
    if tags == "processor_config_tags":
        source = reference / "official_processor_config.json"
        shutil.copy(source, tmp_path / "processor_config.json")
    templates = json.loads((reference / "templates.json").read_text())
    recorded = templates["tag_ids"][tags]
    assert read_token_ids(tmp_path) == {
        "bos_token_id": recorded["bos"],
        "eos_token_id": recorded["eos"],
        "pad_token_id": recorded["pad_id"],
        "image_token_id": recorded["image_tag"][1],
        "image_start_token_id": recorded["image_start_tag"][1],
        "image_end_token_id": recorded["image_end_tag"][1],
    }


def test_missing_tags_are_added_in_the_releases_order(release: Path):
    assert read_token_ids(release) == TOKEN_IDS


def test_tags_the_vocabulary_has_keep_their_ids(reference: Path, tmp_path: Path):
    shutil.copy(reference / "tiny_tokenizer.json", tmp_path / "tokenizer.json")
    (tmp_path / "processor_config.json").write_text("{}")
    ids = json.loads((reference / "meta.json").read_text())["tiny_tokenizer"]["specials"]
    assert read_token_ids(tmp_path) == {
        "bos_token_id": ids["<｜begin▁of▁sentence｜>"],
        "eos_token_id": ids["<｜end▁of▁sentence｜>"],
        "pad_token_id": ids["<｜▁pad▁｜>"],
        "image_token_id": ids["<image_placeholder>"],
        "image_start_token_id": ids["<begin_of_image>"],
        "image_end_token_id": ids["<end_of_image>"],
    }


def test_a_tokenizer_without_ends_of_sentence_is_refused(release: Path, tmp_path: Path):
    text = (release / "tokenizer.json").read_text(encoding="utf-8")
    path = tmp_path / "tokenizer.json"
    path.write_text(text.replace("end▁of", "END▁OF"), encoding="utf-8")
    (tmp_path / "processor_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="end▁of▁sentence"):
        read_token_ids(tmp_path)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "processor_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        read_token_ids(tmp_path)
