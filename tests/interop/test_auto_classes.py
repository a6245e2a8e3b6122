"""What the Auto classes make of configurations; tests/peers loads whole folders by them."""

import json
from pathlib import Path

import pytest
from release_folder import TOKEN_IDS, write_release_folder
from transformers import AutoConfig, AutoModel

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.interop.load import on_meta
from janusflow.model.configuration import JanusFlowConfig


def test_the_releases_config_has_its_true_size(reference: Path, tmp_path: Path):
    text = (reference / "official_config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    for config in (AutoConfig.from_pretrained(tmp_path), JanusFlowConfig.from_pretrained(tmp_path)):
        assert on_meta(config).num_parameters() == 2_046_367_504


@pytest.mark.parametrize("subfolder", ["", "inside"])
def test_token_ids_are_those_of_the_tokenizer_beside_it(tmp_path: Path, subfolder: str):
    write_release_folder(tmp_path / subfolder)
    config = AutoConfig.from_pretrained(tmp_path, subfolder=subfolder)
    found = (config.image_token_id, config.eos_token_id)
    assert found == (TOKEN_IDS["image_token_id"], TOKEN_IDS["eos_token_id"]) != (100015, 100001)


def test_another_models_config_gives_no_default(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="'llama'"):
        JanusFlowConfig.from_pretrained(tmp_path)


def test_janus_pro_is_called_what_it_is(tmp_path: Path):
    sibling = {"model_type": "multi_modality", "gen_vision_config": {}, "language_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(sibling))
    for read in (AutoConfig.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(CheckpointError, match="Janus-Pro, which draws another way"):
            read(tmp_path)
