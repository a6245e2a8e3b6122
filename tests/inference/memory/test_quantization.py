"""The LLM in 8 bits: layer by layer, from the files, as if all had been quantized at once."""

from pathlib import Path

import pytest
import torch
from torch import nn

from janusflow.config.errors import ConfigError
from janusflow.inference.loading import load, whole_model
from janusflow.inference.memory import first_use
from janusflow.inference.memory.quantization import check_quantization
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration

CPU = torch.device("cpu")
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
def test_layers_quantized_as_they_run_are_those_quantized_at_once(
    stored_folders: dict[str, Path], layout: str
):
    folder = stored_folders[layout]
    at_once = whole_model(folder, torch.float32, CPU, quantize="int8", compile=False)
    assert linear_weights(at_once) == []
    found = load(folder, device="cpu", quantize="int8").model
    for _ in range(2):
        assert torch.equal(found(TOKENS).logits, at_once(TOKENS).logits)
    assert linear_weights(found) == []


def test_files_in_float32_are_not_copied_to_be_quantized(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    copies: list[torch.Tensor] = []

    def counted(stored: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        copies.append(converted(stored, dtype))
        return copies[-1]

    converted = first_use._converted
    monkeypatch.setattr(first_use, "_converted", counted)
    found = load(tiny_folder, device="cpu", quantize="int8").model
    assert len(linear_weights(found)) == 2 * 7
    copied = {each.data_ptr() for each in copies}
    assert copied
    assert not copied & {each.data_ptr() for each in linear_weights(found)}
    found(TOKENS)
    assert linear_weights(found) == []


def test_no_linear_layer_of_the_llm_is_ever_in_float32(
    stored_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    in_float32: list[int] = []
    replaced: list[nn.Linear] = []
    model = load(stored_folders["single"], device="cpu", quantize="int8").model

    def counted(layer: nn.Module) -> None:
        in_float32.append(sum(each.dtype == torch.float32 for each in linear_weights(model)))
        replaced.extend(each for each in layer.modules() if isinstance(each, nn.Linear))
        quantize_layers(layer)

    quantize_layers = first_use.quantize_layers
    monkeypatch.setattr(first_use, "quantize_layers", counted)
    model(TOKENS)
    assert in_float32 == [0, 0]
    assert len(replaced) == 2 * 7
    assert {each.weight.numel() for each in replaced} == {0}


@pytest.mark.parametrize(("name", "device"), [("int8", "cuda"), ("int3", "cpu")])
def test_what_cannot_be_quantized_is_refused(name: str, device: str):
    with pytest.raises(ConfigError, match=name):
        check_quantization(name, torch.device(device))
