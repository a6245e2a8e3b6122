"""The LLM in 8 bits: read and quantized layer by layer, as if all had been at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from janusflow.config.errors import ConfigError
from janusflow.inference.loading import load
from janusflow.inference.memory import quantization
from janusflow.inference.memory.quantization import check_quantization
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.load import load_model, open_model
from janusflow.model.modeling import JanusFlowForConditionalGeneration

TOKENS = torch.arange(7, 20)[None]


def linear_weights(model: JanusFlowForConditionalGeneration) -> list[torch.Tensor]:
    return [each.weight for each in model.llm.modules() if isinstance(each, nn.Linear)]


def test_the_model_goes_on_working_and_stays_close(jf: JanusFlow, tiny_folder: Path):
    quantized = load(tiny_folder, device="cpu", quantize="int8")
    exact, rounded = jf.model(TOKENS).logits, quantized.model(TOKENS).logits
    assert 0 < (exact - rounded).abs().max() < 0.1 * exact.abs().max()
    assert quantized.generate("별", steps=1, seed=0)[0].size == (64, 64)
    assert linear_weights(quantized.model) == []


@pytest.mark.parametrize("layout", ["mini", "single", "sharded-bin", "tied"])
def test_layers_quantized_one_by_one_are_those_quantized_at_once(
    stored_folders: dict[str, Path], layout: str
):
    at_once = load_model(stored_folders[layout], dtype=torch.float32)
    quantization.quantize_layers(at_once.llm, beside=at_once.llm.get_input_embeddings())
    found = load(stored_folders[layout], device="cpu", quantize="int8").model
    assert linear_weights(found) == linear_weights(at_once) == []
    for _ in range(2):
        assert torch.equal(found(TOKENS).logits, at_once(TOKENS).logits)
    weights = dict(found.named_parameters())
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(torch.equal(weights[name], w) for name, w in at_once.named_parameters())


def test_one_layer_of_the_llm_at_most_is_ever_in_float32(
    stored_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    in_float32: list[int] = []
    models: list[JanusFlowForConditionalGeneration] = []

    def opened(folder: Path) -> Any:
        model, weights = open_model(folder)
        models.append(model)
        return model, weights

    def counted(layer: nn.Module, **settings: Any) -> None:
        there = [each for each in linear_weights(models[0]) if not each.is_meta]
        in_float32.append(len(there))
        quantize_layers(layer, **settings)

    quantize_layers = quantization.quantize_layers
    monkeypatch.setattr(quantization, "open_model", opened)
    monkeypatch.setattr(quantization, "quantize_layers", counted)
    load(stored_folders["single"], device="cpu", quantize="int8")
    assert in_float32 == [7, 7, 1]  # two layers and the output layer


@pytest.mark.parametrize(("name", "device"), [("int8", "cuda"), ("int3", "cpu")])
def test_what_cannot_be_quantized_is_refused(name: str, device: str):
    with pytest.raises(ConfigError, match=name):
        check_quantization(name, torch.device(device))
