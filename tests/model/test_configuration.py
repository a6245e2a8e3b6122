"""Claims about `JanusFlowConfig`: what it reads, what it refuses, and that it survives a file."""

import json
from pathlib import Path

import pytest
from tiny_model import tiny_config
from transformers import AutoConfig, LlamaConfig, Qwen3Config, SiglipVisionConfig

from janusflow.config.errors import ConfigError
from janusflow.model.configuration import JanusFlowConfig


def test_defaults_are_the_releases_shapes():
    config = JanusFlowConfig()
    assert (config.flow.grid_size, config.flow.num_tokens) == (24, 576)
    assert isinstance(config.llm_config, LlamaConfig)
    assert isinstance(config.vision_config, SiglipVisionConfig)
    assert config.repa_head is None


def test_a_file_brings_back_every_setting(tmp_path: Path):
    config = tiny_config()
    config.repa = {"block": 1, "hidden_size": 16}
    config.seeing = "separate"
    config.image_attention = "bidirectional"
    config.official = {"kept": ["word", "for", {"word": None}]}
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, JanusFlowConfig)
    for name in ("flow", "repa_head", "seeing", "image_attention", "official"):
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
        ({"seeing": "vae"}, "seeing=vae must be one of tower, shared, separate"),
        ({"image_attention": "full"}, "image_attention=full must be one of causal, bidirectional"),
        (
            {"seeing": "shared", "vision_config": {"model_type": "siglip_vision_model"}},
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
