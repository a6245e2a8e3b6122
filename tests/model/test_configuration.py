"""Claims about `JanusFlowConfig`: what it reads, what it refuses, and that it survives a file."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny_model import tiny_config
from transformers import AutoConfig, LlamaConfig, Qwen3Config, SiglipVisionConfig

from janusflow.config.errors import ConfigError
from janusflow.config.model import RepaConfig
from janusflow.model.configuration import JanusFlowConfig


def test_defaults_are_the_releases_shapes():
    config = JanusFlowConfig()
    assert (config.generation.grid_size, config.generation.num_tokens) == (24, 576)
    assert isinstance(config.llm_config, LlamaConfig)
    assert isinstance(config.vision_config, SiglipVisionConfig)
    assert config.repa is None


def test_a_file_brings_back_every_setting(tmp_path: Path):
    config = tiny_config()
    config.repa = {"block": 1, "hidden_size": 16}
    config.understanding_input = "separate"
    config.image_attention = "bidirectional"
    config.official = {"kept": ["word", "for", {"word": None}]}
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, JanusFlowConfig)
    for name in ("generation", "repa", "understanding_input", "image_attention", "official"):
        assert getattr(again, name) == getattr(config, name)
    assert again.llm_config.to_dict() == config.llm_config.to_dict()
    assert again.vision_config.to_dict() == config.vision_config.to_dict()
    assert again.image_start_token_id == config.image_start_token_id
    assert again.vae == config.vae


def test_any_causal_llm_may_be_named_by_its_dict():
    config = JanusFlowConfig(llm_config={"model_type": "qwen3", "hidden_size": 64})
    assert isinstance(config.llm_config, Qwen3Config)
    assert config.hidden_size == 64


def test_tied_embeddings_of_the_llm_are_known_above():
    llm = {"model_type": "qwen3", "tie_word_embeddings": True}
    assert JanusFlowConfig(llm_config=llm).tie_word_embeddings


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"generation": {"patch_sise": 2}}, "patch_sise"),
        ({"generation": {"latent_size": 9}}, "latent_size=9"),
        ({"repa": {"blok": 6}}, "blok"),
        (
            {"understanding_input": "vae"},
            "understanding_input=vae must be one of tower, shared",
        ),
        ({"image_attention": "full"}, "image_attention=full must be one of causal, bidirectional"),
        (
            {
                "understanding_input": "shared",
                "vision_config": {"model_type": "siglip_vision_model"},
            },
            "576 embeddings of an image where the tower makes 196",
        ),
        ({"llm_config": {"hidden_size": 64}}, "without model_type"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, reason: str):
    with pytest.raises(ConfigError, match=reason):
        JanusFlowConfig(**settings)


def test_the_file_is_plain_json(tmp_path: Path):
    tiny_config().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["model_type"] == "janusflow"
    assert settings["generation"]["latent_size"] == 8


def test_records_are_checked_where_they_are_set_and_plain_in_the_file():
    config = tiny_config()
    config.repa = {"block": 1, "hidden_size": 16}
    assert config.repa == RepaConfig(block=1, hidden_size=16)
    with pytest.raises(ConfigError, match="blok"):
        config.repa = {"blok": 1}
    written = config.to_dict()
    assert written["generation"] == asdict(config.generation)
    assert written["repa"] == {"block": 1, "hidden_size": 16}
    assert JanusFlowConfig(**written).generation == config.generation


def test_files_of_before_the_renaming_still_load(tmp_path: Path):
    config = JanusFlowConfig(**tiny_config().to_dict() | {"understanding_input": "shared"})
    config.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    settings["seeing"] = settings.pop("understanding_input")
    path.write_text(json.dumps(settings))
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.understanding_input == "shared"
    assert "seeing" not in again.to_dict()


def test_a_parts_own_dtype_is_not_written(tmp_path: Path):
    config = tiny_config()
    config.llm_config.dtype = config.vision_config.dtype = "float16"
    config.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert "dtype" not in settings["llm_config"]
    assert "dtype" not in settings["vision_config"]
