"""Claims about exported folders: what is in them, and what is refused."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from tiny_model import tiny_config, tiny_janusflow
from transformers import MistralConfig

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.onnx.export import export_onnx
from janusflow.model.modeling import JanusFlowForConditionalGeneration


def export(jf: JanusFlow, folder: Path, **changed: Any) -> Any:
    parts: dict[str, Any] = {"model": jf.model, "processor": jf.processor, "vae": jf.vae}
    options = {**parts, "image_size": jf.image_size, "extra": {}, **changed}
    return export_onnx(folder, **options)


def around(**changes: Any) -> JanusFlowForConditionalGeneration:
    config = tiny_config()
    for name, value in changes.items():
        setattr(config, name, value)
    return JanusFlowForConditionalGeneration(config).eval()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_weights_of_all_graphs_are_written_once(pair: Any):
    """The LLM's are in two graphs, and the file is no larger than the model's own weights."""
    parts = (pair.jf.model, pair.jf.vae)
    weights = sum(weight.numel() for part in parts for weight in part.parameters())
    size = (pair.onnx.folder / "weights.bin").stat().st_size
    assert size <= weights * pair.bytes_per_weight
    graphs = {name: onnx.load(pair.onnx.folder / f"{name}.onnx", load_external_data=False)
              for name in ("decoder", "velocity")}  # fmt: skip
    places = {
        name: {
            entry.value
            for tensor in graph.graph.initializer
            for entry in tensor.external_data
            if entry.key == "offset"
        }
        for name, graph in graphs.items()
    }
    layers = pair.jf.model.config.llm_config.num_hidden_layers
    assert len(places["decoder"] & places["velocity"]) >= 7 * layers  # matrices of a block


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_manifest_tells_a_program_all_it_needs(pair: Any):
    folder, jf = pair.onnx.folder, pair.jf
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    found = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert manifest["files"].keys() == found
    for name, told in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert told == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for name, told in manifest["graphs"].items():
        graph = onnx.load(folder / f"{name}.onnx", load_external_data=False).graph
        assert list(told["inputs"]) == [each.name for each in graph.input]
        assert list(told["outputs"]) == [each.name for each in graph.output]
    cache = manifest["graphs"]["decoder"]["inputs"]["cache"]["shape"]
    sizes = manifest["cache"]
    assert [cache[0], cache[3], cache[5]] == [sizes["layers"], sizes["heads"], sizes["width"]]
    assert cache[2:5:2] == ["batch", "past"]
    assert manifest["tokens"]["image"] == jf.processor.image_token_id
    assert manifest["tokens"]["eos"] == [jf.processor.eos_token_id]
    prompt = jf.processor.tokenizer.decode(jf.processor.prompts("a cat")["input_ids"][0][1:])
    assert manifest["templates"]["prompt"].format(prompt="a cat") == prompt
    assert manifest["generation"]["image_size"] == jf.image_size
    assert manifest["generation"]["solvers"]["heun"]["b"] == [0.5, 0.5]
    assert manifest["understanding"]["mean"] == list(jf.processor.image_processor.image_mean)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_path_of_the_machine_is_in_a_graph(pair: Any):
    for path in pair.onnx.folder.glob("*.onnx"):
        assert b".py" not in path.read_bytes()


def test_an_export_that_fails_leaves_nothing(tmp_path: Path):
    def fail(name: str) -> None:
        raise KeyboardInterrupt(name)

    with pytest.raises(KeyboardInterrupt, match="tower"):
        export(tiny_janusflow(), tmp_path / "onnx", on_graph=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=rf'{missing}.*pip install "janusflow\[onnx\]"'):
        export(tiny_janusflow(), tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_models_that_have_no_such_graphs_are_refused_with_the_reason(tmp_path: Path):
    window = MistralConfig(
        vocab_size=272, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    cases = {
        "sliding windows": {"model": around(llm_config=window)},
        "understanding_input=separate": {"model": around(understanding_input="separate")},
        "bfloat16": {"model": around().to(torch.bfloat16)},
        "dtype='int8' is unknown": {"dtype": "int8"},
    }
    for reason, changed in cases.items():
        with pytest.raises(ConfigError, match=reason):
            export(tiny_janusflow(), tmp_path / "onnx", **changed)
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_adapters_is_refused(tmp_path: Path):
    jf = tiny_janusflow()
    jf.model.peft_config = {}
    with pytest.raises(CheckpointError, match="adapters"):
        export(jf, tmp_path / "onnx")
