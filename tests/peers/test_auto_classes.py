"""After `import janusflow` transformers' Auto classes know us, in whichever order things come."""

import subprocess
import sys
from pathlib import Path

import pytest
from release_folder import write_release_folder

AUTO = (
    "AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, "
    "AutoModelForMultimodalLM, AutoProcessor, AutoTokenizer"
)
BEFORE = f"import janusflow\nfrom transformers import {AUTO}"
AFTER = f"from transformers import {AUTO}\nAutoConfig, AutoModel, AutoTokenizer\nimport janusflow"
FIND = """
import sys
from pathlib import Path

MODELS = AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM
for folder in map(Path, sys.argv[1:]):
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is janusflow.JanusFlowConfig, type(config)
    for auto in MODELS:
        model, info = auto.from_pretrained(folder, output_loading_info=True)
        assert type(model) is janusflow.JanusFlowForConditionalGeneration, type(model)
        assert not any(info.values()), info
    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is janusflow.JanusFlowProcessor, type(processor)
    assert config.image_token_id == processor.image_token_id
    image_processor = AutoImageProcessor.from_pretrained(folder)
    assert type(image_processor) is janusflow.JanusFlowImageProcessor, type(image_processor)
    assert image_processor.to_dict() == processor.image_processor.to_dict()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "12 circles, 빨간 원"
    assert tokenizer(text).input_ids == processor.tokenizer(text).input_ids
"""
FIND_CLASSES = """
import sys

for folder in sys.argv[1:]:
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is janusflow.JanusFlowConfig, type(config)
    for auto in (AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM):
        assert auto._model_mapping[type(config)] is janusflow.JanusFlowForConditionalGeneration
    assert type(AutoProcessor.from_pretrained(folder)) is janusflow.JanusFlowProcessor
    AutoTokenizer.from_pretrained(folder)
"""
ARGUMENTS = """
    import torch

    inside = {"subfolder": folder.name}
    assert type(AutoConfig.from_pretrained(folder.parent, **inside)) is type(config)
    token_id = type(config).from_pretrained(folder.parent, **inside).image_token_id
    assert token_id == processor.image_token_id, token_id
    assert AutoProcessor.from_pretrained(folder.parent, **inside).to_dict() == processor.to_dict()
    again = AutoTokenizer.from_pretrained(folder.parent, **inside, padding_side="right")
    assert again(text).input_ids == tokenizer(text).input_ids and again.padding_side == "right"
    model = AutoModel.from_pretrained(
        folder.parent, **inside, dtype="float32", attn_implementation="eager", device_map="cpu"
    )
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
    for part in (model, model.llm, model.understanding_encoder):
        assert part.config._attn_implementation == "eager"
    try:
        AutoModel.from_pretrained(folder, attention="eager")
    except TypeError as error:
        assert "'attention'" in str(error), error
    else:
        raise AssertionError("an unknown argument was swallowed")
"""


@pytest.fixture(scope="module")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "JanusFlow"
    write_release_folder(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", [BEFORE + FIND + ARGUMENTS, AFTER + FIND_CLASSES], ids=["before", "after"]
)
def test_a_fresh_process_finds_our_folders_and_the_releases(
    mini_folder: Path, release_folder: Path, code: str
):
    command = [sys.executable, "-c", code, str(mini_folder), str(release_folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
