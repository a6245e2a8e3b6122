"""Claims about adapters that are on: mixed, merged, switched off, and taken out without a trace."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_folders import differ, learnt, outputs, same, write_adapter
from peft import LoraConfig, inject_adapter_in_model
from tiny_model import qwen3_model, tiny_janusflow, tiny_model
from torch import Tensor

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.pipeline import JanusFlow
from janusflow.tuning.active import (
    adapter_weights,
    can_plan,
    is_merged,
    merge,
    merge_and_unload,
    plain_modules,
    set_adapters,
    unload,
    unmerge,
)
from janusflow.tuning.files import load_adapter

DRAWING = ("generation_encoder", "generation_decoder")
MIXES = [{"one": 1.0}, {"one": 0.7, "two": -0.4}, {"dora": 1.0}, {"whole": 1.0}]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root, model = tmp_path_factory.mktemp("adapters"), tiny_model()
    parts = ("generation_decoder_aligner", "understanding_aligner")
    return {
        "one": write_adapter(
            root / "one", model, seed=1, alpha=9.0, rank=3, on=("llm.attention", *DRAWING)
        ),
        "two": write_adapter(root / "two", model, seed=2, on=("llm.mlp", *DRAWING)),
        "dora": write_adapter(root / "dora", model, seed=3, method="dora", on=("llm.attention",)),
        "whole": write_adapter(
            root / "whole", model, seed=4, on=("llm.attention",), modules_to_save=parts
        ),
        "part": write_adapter(
            root / "part", model, seed=5, on=("llm.mlp",), modules_to_save=parts[:1]
        ),
    }


@pytest.fixture
def jf() -> JanusFlow:
    return tiny_janusflow()


def put(jf: JanusFlow, folders: dict[str, Path], *names: str) -> None:
    for name in names:
        load_adapter(jf.model, folders[name], name=name, weight=0.0)


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---- on and off -------------------------------------------------------------------------------


def test_with_none_on_the_base_computes_alone_to_the_bit(jf: JanusFlow, folders: dict[str, Path]):
    base = outputs(jf)
    put(jf, folders, "one", "whole")
    assert adapter_weights(jf.model) == {"one": 0.0, "whole": 0.0}
    assert same(outputs(jf), base)
    for name in ("one", "whole"):
        set_adapters(jf.model, {name: 1.0})
        assert differ(outputs(jf), base)
    set_adapters(jf.model, {})
    assert same(outputs(jf), base)


def test_several_add_up_whatever_their_order(jf: JanusFlow, folders: dict[str, Path]):
    """A linear layer's output is the base's, plus each adapter's change times its weight."""
    layer: Any = jf.model.generation_decoder.blocks[0].expand
    x = torch.randn(2, layer.in_features)
    base = layer(x)
    put(jf, folders, "one", "two")
    layer = jf.model.generation_decoder.blocks[0].expand
    wanted = base
    for name, weight in {"one": 0.7, "two": -1.5}.items():
        factor = weight * layer.lora_alpha[name] / layer.r[name]
        wanted = wanted + factor * (x @ layer.lora_A[name].weight.T @ layer.lora_B[name].weight.T)
    set_adapters(jf.model, {"one": 0.7, "two": -1.5})
    torch.testing.assert_close(layer(x), wanted)
    mixed = outputs(jf)
    set_adapters(jf.model, {"two": -1.5, "one": 0.7})
    assert same(outputs(jf), mixed)
    assert adapter_weights(jf.model) == {"one": 0.7, "two": -1.5}


def test_what_has_no_sum_is_refused(jf: JanusFlow, folders: dict[str, Path]):
    put(jf, folders, "one", "dora", "whole", "part")
    set_adapters(jf.model, {"one": 2.0})
    before = outputs(jf)
    for wrong, match in (
        ({"one": 1.0, "dora": 1.0}, "one, dora: .* is changed by DoRA"),
        ({"dora": 0.5}, "'dora' with weight 0.5: .* its weight is 0 or 1"),
        ({"whole": 0.5}, "'whole' with weight 0.5: .* is held in full"),
        ({"whole": 1.0, "part": 1.0}, "whole, part: generation_decoder_aligner is held in full"),
        ({"one": 1.0, "three": 1.0}, "'three' is not loaded: there is one, dora, whole, part"),
        ({"one": float("nan")}, "'one' with weight nan"),
    ):
        with pytest.raises(ConfigError, match=match):
            set_adapters(jf.model, wrong)
        assert adapter_weights(jf.model) == {"one": 2.0, "dora": 0.0, "whole": 0.0, "part": 0.0}
        assert same(outputs(jf), before)


def test_switching_changes_no_flag_and_no_weight(jf: JanusFlow, folders: dict[str, Path]):
    put(jf, folders, "one", "whole")
    flags = {name: number % 3 == 0 for number, name in enumerate(dict(jf.model.named_parameters()))}
    for name, weight in jf.model.named_parameters():
        weight.requires_grad_(flags[name])
    before = state(jf.model)
    for on in ({"one": 0.5}, {"whole": 1.0}, {}):
        set_adapters(jf.model, on)
        assert {name: p.requires_grad for name, p in jf.model.named_parameters()} == flags
        assert equal(state(jf.model), before)


def test_an_adapter_that_is_trained_in_place_is_told_too(jf: JanusFlow):
    config = LoraConfig(r=2, target_modules=["o_proj"])
    inject_adapter_in_model(config, jf.model, "mine")
    assert adapter_weights(jf.model) == {"mine": 1.0}


def test_adapters_that_do_not_plan_are_drawn_without_plans(jf: JanusFlow, folders: dict[str, Path]):
    put(jf, folders, "one")
    jf.model.config.plans = True
    assert can_plan(jf.model)
    assert not can_plan(jf.model, {"one": 1.0})
    set_adapters(jf.model, {"one": 1.0})
    assert not can_plan(jf.model)
    assert jf.model.config.plans


# ---- merging ----------------------------------------------------------------------------------


@pytest.mark.parametrize("on", MIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_computes_the_same_and_unmerged_is_bit_equal(
    jf: JanusFlow, folders: dict[str, Path], on: dict[str, float], dtype: torch.dtype
):
    jf.model.to(dtype)
    plain = state(jf.model)
    put(jf, folders, *on)
    set_adapters(jf.model, on)
    before, separate = state(jf.model), outputs(jf)
    merge(jf.model)
    assert is_merged(jf.model)
    assert adapter_weights(jf.model) == on
    tolerance = 2e-5 if dtype == torch.float32 else 0.25
    for name, value in outputs(jf).items():
        torch.testing.assert_close(value, separate[name], rtol=0, atol=tolerance)
    changed = state(jf.model)
    assert on == {"whole": 1.0} or not equal(changed, before)
    unmerge(jf.model)
    assert not is_merged(jf.model)
    assert equal(state(jf.model), before)
    assert same(outputs(jf), separate)
    for name in on:
        unload(jf.model, name)
    assert equal(state(jf.model), plain)


def test_while_merged_adapters_are_not_touched(jf: JanusFlow, folders: dict[str, Path]):
    put(jf, folders, "one", "two")
    with pytest.raises(ConfigError, match="no adapter is on of one, two"):
        merge(jf.model)
    set_adapters(jf.model, {"one": 1.0})
    merge(jf.model)
    merged = outputs(jf)
    for touch in (
        lambda: merge(jf.model),
        lambda: set_adapters(jf.model, {}),
        lambda: unload(jf.model, "one"),
        lambda: load_adapter(jf.model, folders["two"], name="again"),
    ):
        with pytest.raises(ConfigError, match=r"merged: take them out first \(jf.unmerge"):
            touch()
    assert same(outputs(jf), merged)
    unmerge(jf.model)
    unmerge(jf.model)  # done already: nothing


def test_an_adapter_of_a_tied_weight_is_not_merged():
    """The layer that it is tied to would change too."""
    model: Any = qwen3_model()
    config = LoraConfig(r=2, target_modules=["embed_tokens"], init_lora_weights=False)
    inject_adapter_in_model(config, model, "mine")
    before = state(model)
    with pytest.raises(ConfigError, match="embed_tokens: its weight is tied to another layer's"):
        merge(model)
    assert equal(state(model), before)


def test_an_adapter_that_is_no_finite_number_is_not_merged(jf: JanusFlow, folders: dict[str, Path]):
    put(jf, folders, "one")
    set_adapters(jf.model, {"one": 1.0})
    layer: Any = jf.model.generation_decoder.unpatchify
    layer.lora_B["one"].weight.data.fill_(torch.inf)
    before = state(jf.model)
    with pytest.raises(ConfigError, match="unpatchify: one cannot be merged"):
        merge(jf.model)
    assert equal(state(jf.model), before)


@pytest.mark.parametrize("name", ["one", "whole"])
def test_inside_the_block_a_model_is_plain_and_afterwards_as_before(
    jf: JanusFlow, folders: dict[str, Path], name: str
):
    names = jf.model.state_dict().keys()
    put(jf, folders, name)
    with plain_modules(jf.model):
        assert jf.model.state_dict().keys() == names
        assert equal(state(jf.model), state(tiny_model()))
    set_adapters(jf.model, {name: 1.0})
    refused = pytest.raises(CheckpointError, match=f"{name} are on: merge them first")
    with refused, plain_modules(jf.model):
        pass
    merge(jf.model)
    merged, before = outputs(jf), state(jf.model)
    with plain_modules(jf.model):
        assert jf.model.state_dict().keys() == names
        assert same(outputs(jf), merged)
        assert not hasattr(jf.model, "peft_config")
    assert equal(state(jf.model), before)
    assert adapter_weights(jf.model) == {name: 1.0}


# ---- taking out -------------------------------------------------------------------------------


def test_without_adapters_the_modules_are_the_plain_ones_again(
    jf: JanusFlow, folders: dict[str, Path]
):
    types = {path: type(module) for path, module in jf.model.named_modules()}
    before, base = dict(jf.model.named_modules()), outputs(jf)
    put(jf, folders, "one", "whole")
    unload(jf.model, "whole")
    assert adapter_weights(jf.model) == {"one": 0.0}
    unload(jf.model, "one")
    assert {path: type(module) for path, module in jf.model.named_modules()} == types
    assert all(module is before[path] for path, module in jf.model.named_modules())
    assert not hasattr(jf.model, "peft_config")
    assert same(outputs(jf), base)
    with pytest.raises(ConfigError, match="'one' is not loaded: there is none"):
        unload(jf.model, "one")


def test_what_stays_is_on_as_before_when_another_is_taken_out(
    jf: JanusFlow, folders: dict[str, Path]
):
    put(jf, folders, "one")
    set_adapters(jf.model, {"one": 0.7})
    alone = outputs(jf)
    load_adapter(jf.model, folders["two"], name="two")
    assert differ(outputs(jf), alone)
    unload(jf.model, "two")
    assert adapter_weights(jf.model) == {"one": 0.7}
    assert same(outputs(jf), alone)


def test_merged_for_good_is_a_plain_model(jf: JanusFlow, folders: dict[str, Path]):
    names = jf.model.state_dict().keys()
    put(jf, folders, "one")
    set_adapters(jf.model, {"one": 1.0})
    merge(jf.model)
    merged = outputs(jf)
    unmerge(jf.model)
    merge_and_unload(jf.model)
    assert jf.model.state_dict().keys() == names
    assert same(outputs(jf), merged)
    assert not [each for each in jf.model.modules() if type(each).__module__.startswith("peft")]


def test_a_copy_of_a_model_has_adapters_of_its_own(jf: JanusFlow, folders: dict[str, Path]):
    put(jf, folders, "one")
    other = copy.deepcopy(jf.model)
    set_adapters(other, {"one": 1.0})
    learnt(other, "one", seed=9)
    assert adapter_weights(jf.model) == {"one": 0.0}
