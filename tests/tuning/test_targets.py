"""Plain names reach every layer that can be adapted, and nothing by mistake."""

import pytest
from tiny_model import qwen3_model
from tiny_run import run_model
from torch import nn

from janusflow.config.errors import ConfigError
from janusflow.config.learning.tuning import TuneConfig
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.tuning.inject import add_adapter
from janusflow.tuning.targets import TARGETS, target_modules

POOLING = "understanding_encoder.head."
WANTED = {
    "llm.attention": {"llm.model.layers.1.self_attn.o_proj"},
    "llm.mlp": {"llm.model.layers.0.mlp.gate_proj", "llm.model.layers.1.mlp.down_proj"},
    "llm.head": {"llm.lm_head"},
    "generation": {
        "generation_encoder.patchify",
        "generation_encoder.time_embedding.linear_2",
        "generation_encoder_aligner",
        "generation_decoder_aligner",
        "generation_decoder.blocks.1.modulation",
        "generation_decoder.unpatchify",
    },
    "understanding": {"understanding_aligner", "understanding_encoder.encoder.layers.0.mlp.fc1"},
    "repa_head": {"repa_head.0"},
}
OVERLAPS = {
    "llm": ["llm.attention", "llm.mlp"],
    "generation": ["generation_encoder", "generation_decoder", "aligners"],
    "understanding": ["understanding_encoder", "generation_encoder", "aligners"],
}


def separate_model() -> JanusFlowForConditionalGeneration:
    config = JanusFlowConfig(**{**run_model().config.to_dict(), "understanding_input": "separate"})
    return JanusFlowForConditionalGeneration(config)


def test_every_layer_that_peft_can_adapt_is_reached_by_a_name():
    model = separate_model()
    layers = {
        path
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    }
    reached = set(target_modules(model, list(TARGETS)))
    assert reached == {path for path in layers if not path.startswith(POOLING)}
    assert len(layers) > len(reached)


@pytest.mark.parametrize("name", WANTED)
def test_a_name_means_what_it_says(name: str):
    found = set(target_modules(run_model(), [name]))
    assert found > WANTED[name] or found == WANTED[name]
    head = name.split(".")[0]
    assert all(path.startswith(head) for path in found)


@pytest.mark.parametrize("whole", OVERLAPS)
def test_names_of_parts_cover_the_whole(whole: str):
    model = separate_model()
    assert set(target_modules(model, [whole])) <= set(target_modules(model, OVERLAPS[whole]))


def test_attention_and_mlp_are_apart_and_together_the_llms_blocks():
    model = qwen3_model()
    attention, mlp = (target_modules(model, [f"llm.{name}"]) for name in ("attention", "mlp"))
    assert set(attention).isdisjoint(mlp)
    assert sorted([*attention, *mlp]) == sorted(target_modules(model, ["llm"]))


def test_a_modules_path_stands_for_what_is_inside_it():
    model = run_model()
    block = "llm.model.layers.1"
    assert set(target_modules(model, [block])) == {
        path for path in target_modules(model, ["llm"]) if path.startswith(f"{block}.")
    }
    assert target_modules(model, [f"{block}.mlp.up_proj"]) == [f"{block}.mlp.up_proj"]


def test_a_layer_that_is_named_twice_is_adapted_once():
    model = run_model()
    twice = target_modules(model, ["generation", "aligners", "understanding_aligner"])
    assert len(twice) == len(set(twice))
    assert twice == [path for path, _ in model.named_modules() if path in set(twice)]


def test_an_adapted_model_has_the_same_targets():
    model, names = run_model(), list(TARGETS)
    wanted = target_modules(model, names)
    add_adapter(model, TuneConfig(rank=2, on=("llm", "generation")), modules_to_save=["repa_head"])
    assert target_modules(model, names) == wanted


@pytest.mark.parametrize("name", ["lm", "llm.atention", "llm.model.layers.7", "q_proj", "vae"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str):
    with pytest.raises(ConfigError, match=r"no layer of this model: wanted llm, llm\.attention"):
        target_modules(run_model(), ["llm", name])


def test_a_name_that_matches_nothing_in_this_model_is_refused():
    with pytest.raises(ConfigError, match="'repa_head' names no layer of this model"):
        target_modules(run_model(has_repa=False), ["llm", "repa_head"])


def test_a_depthwise_convolution_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="peft cannot adapt a depthwise convolution"):
        target_modules(run_model(), ["generation_encoder.blocks.0.depthwise"])
