"""What transformers passes on when a model is loaded or saved reaches those it is meant for."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from torch import nn
from transformers import AutoModelForImageTextToText
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from janusflow.inference.pipeline import JanusFlow
from janusflow.processing.processor import JanusFlowProcessor


class MarkedLinear(nn.Linear):
    """Stands for a layer with fewer bits."""


@register_quantization_config("marked")
class MarkedConfig(QuantizationConfigMixin):
    def __init__(self, quant_method: str = "marked", **_: Any) -> None:
        super().__init__(quant_method)


@register_quantizer("marked")
class MarkingQuantizer(HfQuantizer):
    """Replaces the LLM's linear layers as a library of quantization would."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        for part in model.llm.modules():
            if type(part) is nn.Linear:
                part.__class__ = MarkedLinear

    def is_serializable(self, **_: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False


def test_a_quantizer_gets_the_model_before_its_weights(tiny_folder: Path):
    model = AutoModelForImageTextToText.from_pretrained(
        tiny_folder, quantization_config=MarkedConfig()
    )
    kinds = {type(part) for part in model.llm.modules() if isinstance(part, nn.Linear)}
    assert kinds == {MarkedLinear}
    assert type(model.generation_decoder_aligner) is nn.Linear
    assert model.config.quantization_config.quant_method == "marked"


def test_a_model_and_its_processor_are_pushed_as_they_are_saved(
    tiny: JanusFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pushed: dict[str, set[str]] = {}

    def create_commit(_: Any, repo_id: str, operations: list[Any], **__: Any) -> None:
        pushed.setdefault(repo_id, set()).update(each.path_in_repo for each in operations)

    url = huggingface_hub.RepoUrl("https://huggingface.co/me/mine")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *_, **__: url)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
    tiny.model.push_to_hub("me/mine")
    tiny.processor.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/mine")
    assert {"config.json", "model.safetensors", "processor_config.json"} <= pushed["me/mine"]
    again = JanusFlowProcessor.from_pretrained(tmp_path / "mine")
    assert again.to_dict() == tiny.processor.to_dict()
