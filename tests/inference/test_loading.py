"""Names to models: folders, runs, mini, devices, dtypes; what was saved loads as it was."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from release_folder import write_release_folder
from tiny_model import tiny_vae

import janusflow
from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference import loading
from janusflow.inference.loading import choose_device, choose_dtype, find_model, load
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.convert import convert

CPU = torch.device("cpu")


def test_a_saved_model_draws_and_answers_as_before(jf: JanusFlow, tiny_folder: Path):
    loaded = load(tiny_folder, device="cpu")
    assert loaded.name == str(tiny_folder)
    before, after = (each.generate("별", steps=2, seed=1)[0] for each in (jf, loaded))
    assert before.tobytes() == after.tobytes()
    assert loaded.ask(before, "What?", max_new_tokens=6) == jf.ask(
        before, "What?", max_new_tokens=6
    )


def test_a_folder_of_the_release_draws_answers_and_converts(tmp_path: Path):
    """The whole road for the official weights, at a size for tests."""
    write_release_folder(tmp_path / "release")
    tiny_vae().save_pretrained(tmp_path / "vae")
    released = load(tmp_path / "release", vae=tmp_path / "vae", device="cpu")
    (drawn,) = released.generate("a red circle", steps=2, seed=1)
    assert drawn.size == (64, 64)
    answer = released.ask(drawn, "What shape is it?", max_new_tokens=6)
    convert(tmp_path / "release", tmp_path / "ours")
    converted = load(tmp_path / "ours", vae=tmp_path / "vae", device="cpu")
    (again,) = converted.generate("a red circle", steps=2, seed=1)
    assert again.tobytes() == drawn.tobytes()
    assert converted.ask(drawn, "What shape is it?", max_new_tokens=6) == answer


def test_a_vae_of_another_shape_is_refused(tiny_folder: Path, tmp_path: Path):
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=16)
    vae.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="16 latent channels"):
        load(tiny_folder, vae=tmp_path, device="cpu")


def test_the_package_itself_gives_the_names_people_type(tiny_folder: Path):
    assert janusflow.load is load
    assert isinstance(janusflow.load(tiny_folder), janusflow.JanusFlow)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        janusflow.lode  # noqa: B018 (the look-up is the test)


def test_transformers_auto_classes_load_the_folder(tiny_folder: Path):
    from transformers import AutoConfig, AutoModel, AutoProcessor

    janusflow.register_auto_classes()
    assert isinstance(AutoConfig.from_pretrained(tiny_folder), janusflow.JanusFlowConfig)
    model = AutoModel.from_pretrained(tiny_folder)
    assert isinstance(model, janusflow.JanusFlowForConditionalGeneration)
    processor = AutoProcessor.from_pretrained(tiny_folder)
    assert isinstance(processor, janusflow.JanusFlowProcessor)


def test_the_vae_lies_beside_the_saved_weights(tiny_folder: Path):
    assert json.loads((tiny_folder / "config.json").read_text())["vae"] == "vae"
    assert (tiny_folder / "vae" / "config.json").is_file()


def test_a_run_folder_stands_for_the_model_inside_it(tiny_folder: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(tiny_folder)
    assert find_model(tmp_path / "run") == tmp_path / "run" / "model"


def test_mini_is_looked_for_in_the_package(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loading, "mini_folder", lambda: tiny_folder)
    assert find_model("mini") == tiny_folder
    monkeypatch.setattr(loading, "mini_folder", lambda: tmp_path)
    with pytest.raises(CheckpointError, match="mini's weights"):
        find_model("mini")


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "/a/b/c"])
def test_a_name_that_stands_for_nothing_is_refused_in_one_line(name: str):
    with pytest.raises(CheckpointError, match=name) as refusal:
        find_model(name)
    assert "\n" not in str(refusal.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="neither config"):
        find_model(tmp_path)


def test_auto_means_float32_on_a_cpu():
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bf16", CPU) == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_auto_means_the_cpu_where_there_is_nothing_better():
    assert choose_device("auto").type in ("cpu", "mps")
    with pytest.raises(ConfigError, match="finds none"):
        choose_device("cuda")


@pytest.mark.parametrize(
    "wrong",
    [{"device": "toaster"}, {"dtype": "float16"}, {"quantize": "int3"}],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(wrong: dict[str, str]):
    with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
        load("./nowhere", **wrong)
