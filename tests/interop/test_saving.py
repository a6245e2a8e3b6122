"""Claims about saving: whole or not at all, plain weights only, without a progress bar."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tiny_model import tiny_janusflow, tiny_model
from transformers.utils import logging

from janusflow.config.errors import CheckpointError
from janusflow.inference.memory.quantization import quantize_layers
from janusflow.interop.load import load_model
from janusflow.interop.saving import write_model


@pytest.mark.parametrize("is_enabled", [True, False])
def test_nothing_is_said_and_bars_stay_on_or_off(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], is_enabled: bool
):
    (logging.enable_progress_bar if is_enabled else logging.disable_progress_bar)()
    try:
        write_model(tiny_model(), tmp_path)
        assert logging.is_progress_bar_enabled() == is_enabled
    finally:
        logging.enable_progress_bar()
    assert (tmp_path / "model.safetensors").is_file()
    assert capfd.readouterr() == ("", "")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jf, folder = tiny_janusflow(), tmp_path / "model"
    jf.save_pretrained(folder)
    (folder / "notes.txt").write_text("mine")
    before = content(folder)

    def out_of_space(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(jf.vae, "save_pretrained", out_of_space)
    with pytest.raises(OSError, match="no space"):
        jf.save_pretrained(folder)
    with pytest.raises(OSError, match="no space"):
        jf.save_pretrained(tmp_path / "new")
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_saved_folder_takes_the_place_of_older_weights_and_leaves_other_files(tmp_path: Path):
    jf = tiny_janusflow()
    jf.model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert list(tmp_path.glob("*.index.json"))
    (tmp_path / "notes.txt").write_text("mine")
    with torch.no_grad():
        jf.model.begin_of_understanding += 1
    jf.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.index.json"))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    again = load_model(tmp_path)
    assert torch.equal(again.begin_of_understanding, jf.model.begin_of_understanding)


def test_what_is_saved_is_not_cast(tmp_path: Path):
    """Neither in the file nor in memory, where a part was cast by hand."""
    jf = tiny_janusflow()
    jf.model.understanding_aligner.bfloat16()
    jf.save_pretrained(tmp_path)
    assert jf.model.understanding_aligner.weight.dtype == torch.bfloat16
    again = load_model(tmp_path)
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    wanted = jf.model.understanding_aligner.weight.float()
    assert torch.equal(again.understanding_aligner.weight, wanted)


def adapted() -> list[torch.nn.Module]:
    """An adapter around a model, and one within."""
    settings = peft.LoraConfig(r=2, target_modules=["o_proj"])
    return [
        peft.get_peft_model(tiny_model(), settings),
        peft.inject_adapter_in_model(settings, tiny_model()),
    ]


# peft asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("index", [0, 1])
def test_a_model_with_adapters_is_refused_before_anything_is_written(tmp_path: Path, index: int):
    jf: Any = tiny_janusflow()
    jf.model = adapted()[index]
    with pytest.raises(CheckpointError, match="merge them first"):
        jf.save_pretrained(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_quantized_model_is_refused_before_anything_is_written(tmp_path: Path):
    jf = tiny_janusflow()
    quantize_layers(jf.model.llm)
    with pytest.raises(CheckpointError, match="the model is quantized"):
        jf.save_pretrained(tmp_path / "new")
    assert not list(tmp_path.iterdir())
