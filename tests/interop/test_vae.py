"""Claims about finding and loading the VAE. Nothing here asks the network."""

import json
import math
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_vae

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.interop.hub import find_folder
from janusflow.interop.vae import find_vae, load_vae, psnr


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network and nothing cached, as on a fresh machine behind a wall."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def vae_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "vae"
    tiny_vae().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_loads_in_the_dtype_asked_for(vae_folder: Path, dtype: torch.dtype):
    vae = load_vae(vae_folder, dtype=dtype)
    assert vae.dtype == dtype
    assert not vae.training
    assert vae.config.scaling_factor == tiny_vae().config.scaling_factor
    expected = tiny_vae().state_dict()
    assert all(torch.equal(w, expected[name].to(dtype)) for name, w in vae.state_dict().items())


def test_a_model_folder_stands_for_the_vae_inside(vae_folder: Path):
    assert load_vae(vae_folder.parent).config.sample_size == tiny_vae().config.sample_size


def test_a_models_name_stands_for_its_vae_wherever_that_lies(vae_folder: Path, tmp_path: Path):
    own = find_vae("mini")
    assert own == find_folder("mini") / "vae"
    run = tmp_path / "run" / "model"
    shutil.copytree(vae_folder.parent, run)
    (run / "config.json").write_text("{}")
    assert find_vae(run.parent) == run / "vae"
    named = tmp_path / "named"
    named.mkdir()
    (named / "config.json").write_text(json.dumps({"model_type": "janusflow", "vae": "mini"}))
    assert find_vae(named) == own


def test_the_vae_beside_the_weights_is_found(vae_folder: Path):
    beside = vae_folder.parent
    assert load_vae(None, beside=beside).config.latent_channels == 4
    assert load_vae("vae", beside=beside).config.latent_channels == 4


@pytest.mark.parametrize("wrong", ["prefixed", "missing", "extra", "mis-shaped"])
def test_weights_that_do_not_fit_are_refused_by_name(
    vae_folder: Path, wrong: str, capfd: pytest.CaptureFixture[str]
):
    path = vae_folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    name = "decoder.conv_in.weight"
    if wrong == "prefixed":
        weights = {f"first_stage_model.{each}": value for each, value in weights.items()}
    elif wrong == "missing":
        del weights[name]
    elif wrong == "mis-shaped":
        weights[name] = weights[name][:1].clone()
    else:
        weights["stray.weight"] = torch.zeros(2)
    save_file(weights, path)
    with pytest.raises(CheckpointError) as error:
        load_vae(vae_folder)
    message = str(error.value)
    assert {"prefixed": "first_stage_model.", "extra": "stray.weight"}.get(wrong, name) in message
    assert "\n" not in message
    assert len(message) < 1000
    assert capfd.readouterr().err == ""


def test_equal_images_have_no_noise():
    image = torch.rand(1, 3, 4, 4)
    assert psnr(image, image) == math.inf
    assert psnr(image, image + 1) == pytest.approx(10 * math.log10(4))


def test_float16_is_refused_with_the_reason(vae_folder: Path):
    with pytest.raises(ConfigError, match="overflow"):
        load_vae(vae_folder, dtype=torch.float16)


@pytest.mark.usefixtures("_offline")
def test_offline_the_error_names_both_downloads_and_how():
    with pytest.raises(CheckpointError) as error:
        load_vae()
    message = str(error.value)
    assert "hf download deepseek-ai/JanusFlow-1.3B" in message
    assert "hf download stabilityai/sdxl-vae" in message
    assert "\n" not in message


@pytest.mark.usefixtures("_offline")
def test_offline_a_model_by_its_hub_id_says_the_same():
    with pytest.raises(CheckpointError, match=r"hf download deepseek-ai/JanusFlow-1\.3B"):
        find_folder("deepseek-ai/JanusFlow-1.3B")


@pytest.mark.parametrize("name", ["./models/x", "/models/x", "model", "a/b/c"])
def test_a_path_is_not_taken_for_a_hub_id(name: str):
    with pytest.raises(CheckpointError, match="no such folder"):
        find_folder(name)


def test_a_folder_without_a_vae_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="not a readable AutoencoderKL"):
        load_vae(tmp_path)


def test_a_truncated_vae_is_refused(vae_folder: Path):
    weights = vae_folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a readable AutoencoderKL") as error:
        load_vae(vae_folder)
    assert "\n" not in str(error.value)
