"""Our adapters in plain peft, and plain peft's adapters here: the same outputs, to the bit."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_folders import differ, learnt, outputs, same, write_adapter
from peft import LoraConfig, PeftModel, get_peft_model

from janusflow.config.errors import CheckpointError
from janusflow.inference.pipeline import JanusFlow
from janusflow.tuning.files import load_adapter

# Of peft: about a name of transformers', and that it saves embeddings it adapts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`"),
]
PARTS = ["understanding_aligner", "generation_decoder_aligner"]
CONFIGS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "v_proj"], "lora_alpha": 3},
    "causal-lm": {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"},
    "convolutions": {"target_modules": ["unpatchify", "patchify", "expand"]},
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True, "r": 8},
    "ranks": {"target_modules": ["q_proj", "o_proj"], "rank_pattern": {"o_proj": 2}},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
    "embeddings": {"target_modules": ["embed_tokens"]},
    "parts": {"target_modules": ["q_proj"], "modules_to_save": PARTS},
}


@pytest.fixture
def jf(tiny: JanusFlow) -> JanusFlow:
    return with_model(tiny, copy.deepcopy(tiny.model))


def with_model(tiny: JanusFlow, model: Any) -> JanusFlow:
    return JanusFlow(model=model, processor=tiny.processor, vae=tiny.vae, name="tiny")


def saved_by_peft(tiny: JanusFlow, folder: Path, *, name: str, **settings: Any) -> dict[str, Any]:
    """Write an adapter as peft does it; what the model with it computes."""
    model = copy.deepcopy(tiny.model)
    adapted = get_peft_model(model, LoraConfig(**({"r": 4} | settings)), adapter_name=name)
    learnt(adapted, name, seed=7)
    adapted.eval()
    adapted.save_pretrained(str(folder))
    return outputs(with_model(tiny, model))


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_pefts_adapters_load_here(tiny: JanusFlow, jf: JanusFlow, tmp_path: Path, name: str):
    wanted, base = saved_by_peft(tiny, tmp_path, name="default", **CONFIGS[name]), outputs(jf)
    load_adapter(jf.model, tmp_path, name="mine")
    assert same(outputs(jf), wanted)
    assert any(not torch.equal(wanted[each], base[each]) for each in base)


def test_a_named_adapter_is_found_in_its_own_folder(tiny: JanusFlow, jf: JanusFlow, tmp_path: Path):
    wanted = saved_by_peft(tiny, tmp_path, name="style", **CONFIGS["attention"])
    assert (tmp_path / "style" / "adapter_config.json").is_file()
    load_adapter(jf.model, tmp_path, name="mine")
    assert same(outputs(jf), wanted)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"method": "dora"},
        {"alpha": 9.0},
        {"on": ("llm.attention",), "modules_to_save": tuple(PARTS)},
    ],
)
def test_ours_load_in_plain_peft_without_a_warning(
    tiny: JanusFlow, jf: JanusFlow, tmp_path: Path, how: dict[str, Any]
):
    write_adapter(tmp_path, jf.model, **how)
    model = copy.deepcopy(tiny.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        PeftModel.from_pretrained(model, str(tmp_path))
    base = outputs(jf)
    load_adapter(jf.model, tmp_path, name="mine")
    assert same(outputs(jf), outputs(with_model(tiny, model)))
    assert differ(outputs(jf), base)


def test_what_peft_saves_again_still_loads_here(tiny: JanusFlow, jf: JanusFlow, tmp_path: Path):
    write_adapter(tmp_path / "ours", jf.model)
    model: Any = PeftModel.from_pretrained(copy.deepcopy(tiny.model), str(tmp_path / "ours"))
    model.peft_config["default"].base_model_name_or_path = None  # peft would look for it on the hub
    model.save_pretrained(str(tmp_path / "theirs"))
    load_adapter(jf.model, tmp_path / "ours", name="ours")
    wanted = outputs(jf)
    other = with_model(tiny, copy.deepcopy(tiny.model))
    load_adapter(other.model, tmp_path / "theirs", name="theirs")
    assert same(outputs(other), wanted)


def test_embeddings_of_another_base_are_noticed(tiny: JanusFlow, jf: JanusFlow, tmp_path: Path):
    saved_by_peft(tiny, tmp_path, name="default", **CONFIGS["embeddings"])
    jf.model.llm.get_input_embeddings().weight.data += 1
    with pytest.raises(CheckpointError, match="embed_tokens of its base, which differs"):
        load_adapter(jf.model, tmp_path, name="mine")


def test_an_adapter_of_a_language_model_alone_is_refused(
    tiny: JanusFlow, jf: JanusFlow, tmp_path: Path
):
    """Its targets have the same names, its weights other paths."""
    adapted = get_peft_model(
        copy.deepcopy(tiny.model.llm), LoraConfig(r=4, target_modules=["q_proj"])
    )
    adapted.save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_config.json"
    assert json.loads(file.read_text())["target_modules"] == ["q_proj"]
    learnt(adapted, "default", seed=1)
    adapted.save_pretrained(str(tmp_path))
    with pytest.raises(CheckpointError, match="none of its 4 weights has a place"):
        load_adapter(jf.model, tmp_path, name="mine")
