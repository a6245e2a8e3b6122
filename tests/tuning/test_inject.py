"""A new adapter changes nothing until it has learnt, and nothing but it can learn."""

import builtins
from typing import Any

import pytest
import torch
from tiny_model import padded_prompt, tiny_model
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.config.learning.tuning import TuneConfig
from janusflow.interop.load import on_meta
from janusflow.interop.release import release_config
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.tuning.inject import add_adapter
from janusflow.tuning.targets import TARGETS, target_modules

EVERYTHING = tuple(name for name in TARGETS if name != "repa_head")


@pytest.fixture
def model() -> JanusFlowForConditionalGeneration:
    return tiny_model()


@torch.no_grad()
def outputs(model: JanusFlowForConditionalGeneration) -> list[Tensor]:
    """Logits of a conversation about an image, and a velocity: both halves."""
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(2, 4, 8, 8, generator=generator).to(model.dtype)
    pixels = torch.randn(1, 3, 64, 64, generator=generator).to(model.dtype)
    token_ids = torch.tensor([[0, 9, 5, *[3] * 16, 6, 20]])
    prompt = padded_prompt([[0, 9, 10], [0, 11]], pad_token_id=2)
    seen = model(input_ids=token_ids, pixel_values=pixels).logits
    return [seen, model.velocity(x_t, torch.tensor([0.2, 0.7]), prompt)]


def weights(model: JanusFlowForConditionalGeneration) -> dict[str, Tensor]:
    return {
        n.replace(".base_layer", "").replace(".original_module", ""): p
        for n, p in model.named_parameters()
        if "lora_" not in n and "modules_to_save" not in n
    }


def test_lora_changes_no_bit_of_the_output(model: JanusFlowForConditionalGeneration):
    before = outputs(model)
    add_adapter(model, TuneConfig(rank=4, on=EVERYTHING))
    assert all(map(torch.equal, outputs(model), before))


def test_dora_starts_as_the_model_itself(model: JanusFlowForConditionalGeneration):
    before = outputs(model)
    add_adapter(model, TuneConfig(method="dora", rank=4, on=EVERYTHING))
    for found, wanted in zip(outputs(model), before, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_nothing_but_the_adapter_can_learn(model: JanusFlowForConditionalGeneration, method: Any):
    add_adapter(model, TuneConfig(method=method, rank=4, on=("llm.mlp", "aligners")))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trainable)
    assert trainable == {name for name, _ in model.named_parameters() if "lora_" in name}
    adapted = {name.partition(".lora_")[0] for name in trainable}
    assert adapted == set(target_modules(model, ["llm.mlp", "aligners"]))


def test_a_rank_learns_so_many_numbers_a_weight(model: JanusFlowForConditionalGeneration):
    add_adapter(model, TuneConfig(rank=4, on=("llm.mlp",)))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 4 * (32 + 64) * 3 * 2


def test_no_weight_of_the_model_is_copied(model: JanusFlowForConditionalGeneration):
    before = {name: p.data_ptr() for name, p in model.named_parameters()}
    inside = model.llm
    add_adapter(model, TuneConfig(rank=4, on=EVERYTHING))
    assert {name: p.data_ptr() for name, p in weights(model).items()} == before
    assert model.llm is inside


def test_modules_that_train_in_full_are_copied_and_alone(model: JanusFlowForConditionalGeneration):
    before = outputs(model)
    config = TuneConfig(rank=4, on=("llm",))
    add_adapter(model, config, modules_to_save=["generation_decoder", "understanding_aligner"])
    assert all(map(torch.equal, outputs(model), before))
    full = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n}
    assert {name.split(".")[0] for name in full} == {"generation_decoder", "understanding_aligner"}
    assert all(".modules_to_save.default." in name for name in full)


def test_a_module_is_not_both_adapted_and_trained_in_full(
    model: JanusFlowForConditionalGeneration,
):
    with pytest.raises(ConfigError, match="generation_decoder is to be trained in full"):
        add_adapter(model, TuneConfig(on=("generation",)), modules_to_save=["generation_decoder"])


def test_adapters_are_float32_on_a_bfloat16_model(model: JanusFlowForConditionalGeneration):
    model = model.bfloat16()
    before = outputs(model)
    add_adapter(model, TuneConfig(rank=4, on=EVERYTHING))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert all(map(torch.equal, outputs(model), before))


def test_a_second_adapter_stands_beside_the_first_and_a_name_is_taken_once(
    model: JanusFlowForConditionalGeneration,
):
    add_adapter(model, TuneConfig(rank=4, on=("llm",)))
    add_adapter(model, TuneConfig(rank=2, on=("llm",)), name="second")
    assert set(model.peft_config) == {"default", "second"}
    with pytest.raises(ConfigError, match="has an adapter 'second' already"):
        add_adapter(model, TuneConfig(), name="second")


def test_without_peft_the_extra_is_named(
    model: JanusFlowForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
):
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "peft":
            raise ModuleNotFoundError("No module named 'peft'", name="peft")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'janusflow\[tune\]'"):
        add_adapter(model, TuneConfig())


@pytest.mark.slow
def test_an_adapter_of_the_release_takes_megabytes():
    """At rank 16 on both halves, in float32."""
    model = on_meta(release_config())
    with torch.device("meta"):
        add_adapter(model, TuneConfig())
    size = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert 50e6 < size < 100e6
    assert size < 0.02 * sum(p.nbytes for p in model.parameters())
