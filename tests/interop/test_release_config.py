"""Claims about the release's config.json: what it means, and that it comes back as it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from release_folder import TOKEN_IDS, release_settings

from janusflow.config.errors import CheckpointError
from janusflow.interop.release_config import config_from_official, config_to_official
from janusflow.model.configuration import JanusFlowConfig


def read(settings: dict) -> JanusFlowConfig:
    return config_from_official(settings, token_ids=TOKEN_IDS)


def changed(section: str, **values: object) -> dict:
    settings = release_settings()
    target = settings[section]
    target.get("params", target).update(values)
    return settings


def as_saved(config: JanusFlowConfig) -> JanusFlowConfig:
    return JanusFlowConfig.from_dict(json.loads(config.to_json_string()))


def test_the_file_comes_back_word_for_word_through_our_own_config_json():
    settings = release_settings()
    settings["unheard_of"] = {"kept": [1, None, "한글"]}
    assert config_to_official(as_saved(read(settings))) == settings


def test_the_releases_own_file_comes_back_word_for_word(reference: Path):
    settings = json.loads((reference / "official_config.json").read_text())
    config = as_saved(config_from_official(settings, token_ids=TOKEN_IDS))
    assert config_to_official(config) == settings


def test_a_changed_network_writes_what_it_is_now():
    config = read(release_settings())
    config.generation = replace(config.generation, num_encoder_blocks=3)
    written = config_to_official(config)
    assert written["vision_gen_enc_config"]["params"]["layers_in_middle"] == 3
    assert read(written).generation == config.generation


def test_a_network_made_here_can_be_written_and_read():
    config = read(release_settings())
    config.official = None
    again = read(config_to_official(config))
    assert again.generation == config.generation
    assert again.vision_config.to_dict() == config.vision_config.to_dict()
    for name in ("hidden_size", "intermediate_size", "vocab_size", "rms_norm_eps"):
        assert getattr(again.llm_config, name) == getattr(config.llm_config, name)
    assert again.llm_config.rope_parameters == config.llm_config.rope_parameters


@pytest.mark.parametrize("has_a_file", [True, False])
def test_a_model_that_learnt_to_plan_says_so_and_no_other_does(has_a_file: bool):
    config = read(release_settings())
    if not has_a_file:
        config.official = None
    assert "plans" not in config_to_official(config)
    config.plans = True
    planner = read(config_to_official(config))
    assert planner.plans
    planner.plans = False
    assert not read(config_to_official(planner)).plans


@pytest.mark.parametrize(
    ("select_layer", "num_blocks"), [(-1, 24), (-2, 23), (-22, 3), (0, 24), (2, 2), (24, 24)]
)
def test_select_layer_decides_how_many_blocks_are_built(select_layer: int, num_blocks: int):
    config = read(changed("vision_und_enc_config", select_layer=select_layer))
    assert config.vision_config.num_hidden_layers == num_blocks


def test_the_tower_has_the_exact_gelu_and_keeps_its_unused_head():
    vision = read(release_settings()).vision_config
    assert (vision.hidden_act, vision.vision_use_head, vision.layer_norm_eps) == (
        "gelu",
        True,
        1e-6,
    )


def test_the_llm_stops_at_the_tokenizers_end_and_not_at_llamas():
    assert read(release_settings()).llm_config.eos_token_id == TOKEN_IDS["eos_token_id"]


def test_padding_gets_no_frozen_embedding():
    """The release pads with EOS, whose embedding must learn."""
    assert read(release_settings()).llm_config.pad_token_id is None


def test_misspelt_and_ignored_keys_change_nothing():
    plain = release_settings()
    del plain["vision_gen_enc_config"]["params"]["elementwize_affine"]
    del plain["vision_gen_enc_config"]["params"]["num_extra_tensors"]
    assert read(plain).generation == read(release_settings()).generation


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model_type": "llava"}, "model_type='llava'"),
        ({"model_type": "multi_modality"}, "language_config"),
        (changed("language_config", model_type="qwen2"), "'qwen2'"),
        (changed("vision_und_enc_config", model_name="sam_b"), "'sam_b'"),
        (changed("vision_und_enc_config", select_layer=-40), "select_layer=-40"),
        (changed("vision_und_enc_config", select_feature="cls"), "select_feature='cls'"),
        (changed("vision_gen_enc_config", stride=4), "stride=4"),
        (changed("vision_gen_enc_config", block_out_channels=[32, 64]), "block_out_channels"),
        (changed("vision_gen_enc_config", hidden_size=99), "hidden_size=99"),
        (changed("vision_gen_dec_config", upsamples=2), "upsamples=2"),
        (changed("vision_gen_dec_config", in_channels=16), "in_channels=16"),
        ({**release_settings(), "plans": "yes"}, "plans='yes'"),
    ],
)
def test_another_network_is_refused_by_its_reason(settings: dict, reason: str):
    with pytest.raises(CheckpointError, match=reason) as error:
        read(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.vision_config.__setattr__("hidden_act", "gelu_pytorch_tanh"),
        lambda config: config.vision_config.__setattr__("hidden_size", 512),
        lambda config: config.llm_config.__setattr__("attention_bias", True),
        lambda config: config.__setattr__("generation", replace(config.generation, patch_size=4)),
        lambda config: config.__setattr__("generation", replace(config.generation, latent_size=32)),
        lambda config: config.__setattr__("generation", replace(config.generation, kernel_size=3)),
        lambda config: config.__setattr__("understanding_input", "shared"),
        lambda config: config.__setattr__("image_attention", "bidirectional"),
    ],
)
def test_what_the_releases_layout_cannot_say_is_refused(change: Callable[[JanusFlowConfig], None]):
    config = read(release_settings())
    change(config)
    with pytest.raises(CheckpointError, match="cannot hold"):
        config_to_official(config)
