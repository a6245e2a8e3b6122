"""After `import janusflow` transformers' Auto classes know us, in whichever order things come."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.interop.convert import convert
from janusflow.interop.load import on_meta
from janusflow.model.configuration import JanusFlowConfig

AUTO = "AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor"
IMPORTS = {
    "before": f"import janusflow\nfrom transformers import {AUTO}",
    "after": f"from transformers import {AUTO}\nAutoConfig, AutoProcessor\nimport janusflow",
}
LOAD = """
import sys
for folder in sys.argv[1:]:
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is janusflow.JanusFlowConfig, type(config)
    for auto in (AutoModel, AutoModelForImageTextToText):
        model, info = auto.from_pretrained(folder, output_loading_info=True)
        assert type(model) is janusflow.JanusFlowForConditionalGeneration, type(model)
        assert not any(info.values()), info
    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is janusflow.JanusFlowProcessor, type(processor)
    assert config.image_token_id == processor.image_token_id
    image_processor = AutoImageProcessor.from_pretrained(folder)
    assert type(image_processor) is janusflow.JanusFlowImageProcessor, type(image_processor)
"""


@pytest.fixture(scope="module")
def ours(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(release, tmp_path_factory.mktemp("converted") / "ours").folder


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_fresh_process_finds_our_folders_and_the_releases(release: Path, ours: Path, order: str):
    command = [sys.executable, "-c", IMPORTS[order] + LOAD, str(ours), str(release)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_releases_config_has_its_true_size(reference: Path, tmp_path: Path):
    text = (reference / "official_config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    for config in (AutoConfig.from_pretrained(tmp_path), JanusFlowConfig.from_pretrained(tmp_path)):
        assert on_meta(config).num_parameters() == 2_046_367_504


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
