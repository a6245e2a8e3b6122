"""Claims about `convert`: both ways, bit for bit, whole or not at all."""

import json
from pathlib import Path

import pytest
import torch
from release_folder import TOKEN_IDS, write_release_folder
from safetensors.torch import load_file
from tiny_model import tiny_vae
from torch import Tensor

from janusflow.config.errors import CheckpointError
from janusflow.interop.convert import convert
from janusflow.interop.load import load_model
from janusflow.interop.saving import save_official
from janusflow.processing.processor import JanusFlowProcessor


def test_there_and_back_the_folder_is_the_same(release: Path, tmp_path: Path):
    """Weights by value and dtype; settings to the byte; the tokenizer by what it makes of text."""
    convert(release, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "again", to="official")
    again = tmp_path / "again"
    assert {p.name for p in again.iterdir()} == {p.name for p in release.iterdir()}
    for path in release.iterdir():
        if path.suffix == ".json" and not path.name.startswith("tokenizer"):
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    asked = [JanusFlowProcessor.from_pretrained(f).prompts(["a cät 2"]) for f in (release, again)]
    assert asked[0].input_ids.tolist() == asked[1].input_ids.tolist()
    before, after = load_file(release / "model.safetensors"), load_file(again / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert after[name].dtype == weight.dtype == torch.bfloat16
        assert torch.equal(after[name], weight), name


def test_the_converted_folder_computes_the_same(release: Path, tmp_path: Path):
    convert(release, tmp_path / "ours")
    ids = torch.tensor([[TOKEN_IDS["bos_token_id"], 65, 66, 67]])
    with torch.no_grad():
        logits = [load_model(folder)(ids).logits for folder in (release, tmp_path / "ours")]
    assert torch.equal(*logits)


def test_shards_become_one_file_with_the_same_weights(
    tmp_path: Path, release_weights: dict[str, Tensor]
):
    write_release_folder(tmp_path / "sharded", files="sharded-bin")
    convert(tmp_path / "sharded", tmp_path / "single", to="official")
    weights = load_file(tmp_path / "single" / "model.safetensors")
    assert weights.keys() == release_weights.keys()
    assert all(torch.equal(weights[name], release_weights[name]) for name in weights)
    assert not list((tmp_path / "single").glob("*.index.json"))


def test_the_vae_comes_along(release: Path, tmp_path: Path):
    source = tmp_path / "with-vae"
    convert(release, source, to="official")
    tiny_vae().save_pretrained(source / "vae")
    done = convert(source, tmp_path / "ours")
    assert "vae" in done.copied
    assert (tmp_path / "ours" / "vae" / "config.json").is_file()


def test_a_folder_with_content_is_left_alone(release: Path, tmp_path: Path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        convert(release, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_a_failure_leaves_nothing_behind(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def out_of_space(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("janusflow.interop.convert._copy_others", out_of_space)
    with pytest.raises(OSError, match="no space"):
        convert(release, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_repa_head_is_left_out_and_said_so(release: Path, tmp_path: Path):
    model = load_model(release)
    model.config.repa = {"block": 1, "hidden_size": 8}
    with_head = type(model)(model.config).to(torch.bfloat16)
    left_out = save_official(with_head, tmp_path)
    assert len(left_out) == 6
    assert all(name.startswith("repa_head.") for name in left_out)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == load_file(release / "model.safetensors").keys()


def test_a_network_the_release_has_no_words_for_is_refused(release: Path, tmp_path: Path):
    convert(release, tmp_path / "ours")
    path = tmp_path / "ours" / "config.json"
    settings = json.loads(path.read_text())
    settings["vision_config"]["hidden_act"] = "gelu_pytorch_tanh"
    path.write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="gelu_pytorch_tanh"):
        convert(tmp_path / "ours", tmp_path / "official", to="official")
    assert not (tmp_path / "official").exists()


def test_a_name_that_is_no_folder_is_refused_without_asking_the_hub(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "new")
