"""The processor's files: the release's come back to the byte, ours survive; bad ones are named."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.tokenizer import IMAGE_TAGS


@pytest.fixture
def release_folder(reference: Path, tmp_path: Path) -> Path:
    """The processor's files in the release's layout."""
    folder = tmp_path / "release"
    folder.mkdir()
    for name in ("processor_config", "preprocessor_config", "special_tokens_map"):
        shutil.copy(reference / f"official_{name}.json", folder / f"{name}.json")
    shutil.copy(reference / "tokenizer" / "tokenizer.json", folder)
    return folder


def as_read(processor: JanusFlowProcessor) -> tuple[Any, ...]:
    """What a processor makes of one conversation and one prompt, and its settings."""
    question = {"role": "User", "content": "<image_placeholder>\n2+2=?"}
    batch = processor.conversations([[question]], [[Image.new("RGB", (20, 10), "red")]])
    prompt = processor.prompts(["a cat"])
    pixels = hashlib.sha256(np.ascontiguousarray(batch.pixel_values).tobytes()).hexdigest()
    settings = (*(getattr(processor, key) for key in IMAGE_TAGS), processor.chat_template)
    return batch.input_ids.tolist(), prompt.input_ids.tolist(), pixels, settings


def test_the_releases_folder_is_read_and_written_back_to_the_byte(
    release_folder: Path, tmp_path: Path
):
    processor = JanusFlowProcessor.from_pretrained(release_folder)
    assert {key: getattr(processor, key) for key in IMAGE_TAGS} == IMAGE_TAGS
    assert processor.sft_format == "deepseek_old"

    processor.save_release_layout(tmp_path / "again")

    for name in ("processor_config", "preprocessor_config", "special_tokens_map"):
        written = (tmp_path / "again" / f"{name}.json").read_bytes()
        assert written == (release_folder / f"{name}.json").read_bytes()
    assert as_read(JanusFlowProcessor.from_pretrained(tmp_path / "again")) == as_read(processor)


def test_our_folder_survives_a_round_trip(release_folder: Path, tmp_path: Path):
    processor = JanusFlowProcessor.from_pretrained(release_folder)
    processor.save_pretrained(tmp_path / "ours")
    again = JanusFlowProcessor.from_pretrained(tmp_path / "ours")
    assert as_read(again) == as_read(processor)
    assert len(again.tokenizer) == len(processor.tokenizer)
    again.save_release_layout(tmp_path / "release_again")
    told = json.loads((release_folder / "processor_config.json").read_text())
    written = json.loads((tmp_path / "release_again" / "processor_config.json").read_text())
    assert written == told


def test_settings_of_our_own_survive(tiny: JanusFlowProcessor, tmp_path: Path):
    tiny.save_pretrained(tmp_path)
    again = JanusFlowProcessor.from_pretrained(tmp_path)
    assert again.system_prompt == ""
    assert again.num_image_tokens == tiny.num_image_tokens
    assert again.image_processor.image_size == 96
    assert as_read(again) == as_read(tiny)
    config = json.loads((tmp_path / "processor_config.json").read_text())
    assert config["processor_class"] == "JanusFlowProcessor"


def test_a_release_tokenizer_file_has_merges_the_authors_code_can_read(
    release_folder: Path, tmp_path: Path
):
    JanusFlowProcessor.from_pretrained(release_folder).save_release_layout(tmp_path / "again")
    merges = json.loads((tmp_path / "again" / "tokenizer.json").read_text())["model"]["merges"]
    original = json.loads((release_folder / "tokenizer.json").read_text())["model"]["merges"]
    assert merges == original


def test_a_file_that_names_no_tags_means_the_releases_class_defaults(
    release_folder: Path,
):
    (release_folder / "processor_config.json").write_text("{}")
    processor = JanusFlowProcessor.from_pretrained(release_folder)
    tags = (processor.image_start_tag, processor.image_end_tag)
    assert tags == ("<begin_of_image>", "<end_of_image>")
    assert processor.sft_format == "deepseek"


@pytest.mark.parametrize(
    "name", ["processor_config.json", "preprocessor_config.json", "tokenizer.json"]
)
def test_a_missing_or_broken_file_is_named(release_folder: Path, name: str):
    text = (release_folder / name).read_text()
    (release_folder / name).write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
        JanusFlowProcessor.from_pretrained(release_folder)
    (release_folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        JanusFlowProcessor.from_pretrained(release_folder)


def test_a_name_that_is_no_folder_is_refused_in_one_line():
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id") as error:
        JanusFlowProcessor.from_pretrained("no/such/folder/here")
    assert "\n" not in str(error.value)


def test_files_may_lie_in_a_subfolder_and_settings_be_overruled(
    release_folder: Path, tmp_path: Path
):
    shutil.copytree(release_folder, tmp_path / "outer" / "inner")
    processor = JanusFlowProcessor.from_pretrained(
        tmp_path / "outer",
        subfolder="inner",
        num_image_tokens=5,
        system_prompt="",
        do_normalize=False,
    )
    assert processor.num_image_tokens == 5
    assert processor.apply_chat_template([{"role": "user", "content": "hi"}]) == "User: hi"
    assert not processor.image_processor.do_normalize
    with pytest.raises(CheckpointError, match=r"absent.processor_config.json is missing"):
        JanusFlowProcessor.from_pretrained(tmp_path / "outer", subfolder="absent")


def test_a_chat_template_in_the_folder_is_used(release_folder: Path):
    (release_folder / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    processor = JanusFlowProcessor.from_pretrained(release_folder)
    assert processor.apply_chat_template([{"role": "user", "content": "hi"}]) == "hi!"
    assert processor.tokenizer.chat_template == processor.chat_template


def test_saving_pushes_to_the_hub_when_asked(
    tiny: JanusFlowProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pushed: list[str] = []
    hub = SimpleNamespace(
        create_repo=lambda repo_id, **_: SimpleNamespace(repo_id=repo_id),
    )
    monkeypatch.setattr("transformers.processing_utils.hf_api", lambda: hub)
    monkeypatch.setattr(
        JanusFlowProcessor,
        "_upload_modified_files",
        lambda _self, folder, repo_id, *_, **__: pushed.append(f"{Path(folder).name} {repo_id}"),
    )
    tiny.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/mine")
    assert pushed == ["mine me/mine"]


@pytest.mark.parametrize("loader", [JanusFlowProcessor, AutoProcessor])
@pytest.mark.parametrize(
    ("name", "advice"), [("some_unknown_key", "leave it out"), ("sft_formt", "use sft_format")]
)
def test_an_argument_that_nobody_knows_is_refused_by_name(
    tiny: JanusFlowProcessor, tmp_path: Path, loader: Any, name: str, advice: str
):
    tiny.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"no argument {name}: {advice}"):
        loader.from_pretrained(tmp_path, **{name: 1})


def test_what_transformers_hands_on_and_settings_of_the_parts_are_known(
    tiny: JanusFlowProcessor, tmp_path: Path
):
    tiny.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(
        tmp_path,
        trust_remote_code=False,
        use_fast=True,
        local_files_only=True,
        revision="main",
        min_size=5,
        model_max_length=77,
        system_prompt="Be brief.",
    )
    assert loaded.image_processor.min_size == 5
    assert loaded.tokenizer.model_max_length == 77
    assert loaded.system_prompt == "Be brief."
    JanusFlowProcessor.from_pretrained(tmp_path, _from_pipeline="any-to-any", device_map="cpu")
