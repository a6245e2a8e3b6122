"""Names to models: folders, runs, mini, devices, dtypes; what was saved loads as it was."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from release_folder import write_release_folder
from tiny_model import tiny_vae

import janusflow
from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.loading import choose_device, choose_dtype, load
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.convert import convert
from janusflow.interop.hub import EMBEDDED, find_model

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
    monkeypatch.setitem(EMBEDDED, "mini", tiny_folder)
    assert find_model("mini") == tiny_folder
    monkeypatch.setitem(EMBEDDED, "mini", tmp_path)
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_every_weight_has_the_dtype_that_the_model_says(dtype: str, quantize: str | None):
    jf = load("mini", device="cpu", dtype=dtype, quantize=quantize)
    wanted = getattr(torch, dtype)
    assert {weight.dtype for weight in jf.model.parameters()} == {wanted}
    configs = (jf.model.config, jf.model.config.llm_config, jf.model.config.vision_config)
    assert {config.dtype for config in configs} == {jf.model.dtype} == {wanted}
    assert jf.vae.dtype == (torch.float32 if dtype == "float16" else wanted)


def test_a_model_in_float16_draws_and_answers():
    jf = load("mini", device="cpu", dtype=torch.float16)
    (image,) = jf.generate("a red circle", steps=4, seed=1)
    assert jf.ask(image, "Describe the picture.") == "a red circle"


def test_no_tensor_of_the_user_is_changed_when_the_model_runs():
    """Adapters in float32 on a bfloat16 model, a snapshot, and a layer cast by hand."""
    model = load("mini", device="cpu", dtype="bfloat16").model
    layer = model.llm.base_model.layers[0]
    layer.register_parameter("adapter", torch.nn.Parameter(torch.ones(3)))
    layer.mlp.float()
    layer.mlp.register_forward_pre_hook(lambda _, inputs: tuple(x.float() for x in inputs))
    layer.mlp.register_forward_hook(lambda *args: args[-1].bfloat16())
    snapshot = model.state_dict()
    copies = {name: value.clone() for name, value in snapshot.items()}
    model(torch.arange(7, 20)[None])
    for name, value in model.state_dict().items():
        assert value.data_ptr() == snapshot[name].data_ptr(), name
        assert value.dtype == copies[name].dtype, name
        assert torch.equal(value, copies[name]), name


def test_a_config_saved_elsewhere_still_finds_its_vae(tiny_folder: Path, tmp_path: Path):
    """What `model.save_pretrained` and `processor.save_pretrained` write is loaded again."""
    jf = load(tiny_folder, device="cpu")
    jf.model.save_pretrained(tmp_path)
    jf.processor.save_pretrained(tmp_path)
    again = load(tmp_path, device="cpu")
    assert again.vae.config["scaling_factor"] == jf.vae.config["scaling_factor"]


def test_a_folder_without_its_vae_says_so_and_how_to_name_one(tiny_folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    shutil.rmtree(copy / "vae")
    with pytest.raises(CheckpointError, match=r"vae=") as refusal:
        load(copy, device="cpu")
    assert str(copy) in str(refusal.value)
    assert load(copy, vae=tiny_folder, device="cpu").vae.config["latent_channels"] == 4


def test_an_adapters_folder_is_called_what_it_is(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    with pytest.raises(CheckpointError, match=r"an adapter, not a model .*some/base"):
        find_model(tmp_path)


def test_auto_means_float32_on_a_cpu():
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bf16", CPU) == torch.bfloat16
    assert choose_dtype(torch.float16, CPU) == choose_dtype("fp16", CPU) == torch.float16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_auto_means_the_cpu_where_there_is_nothing_better():
    assert choose_device("auto").type in ("cpu", "mps")
    with pytest.raises(ConfigError, match="finds none"):
        choose_device("cuda")


@pytest.mark.parametrize(
    "wrong",
    [{"device": "toaster"}, {"dtype": "float8"}, {"quantize": "int3"}],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(wrong: dict[str, str]):
    with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
        load("./nowhere", **wrong)
