"""Claims about loading: every layout gives the same model, and every damage its reason."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from release_folder import TOKEN_IDS, release_settings, write_release_folder
from safetensors.torch import load_file, save_file
from tiny_model import tiny_model
from torch import Tensor
from transformers import AutoModel, LlamaConfig, SiglipVisionModel

from janusflow.config.errors import CheckpointError
from janusflow.interop.conversion import to_official
from janusflow.interop.load import load_model
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration


def official_weights(model: JanusFlowForConditionalGeneration) -> dict[str, Tensor]:
    return to_official(model.state_dict())


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("files", ["single", "sharded", "bin", "sharded-bin"])
def test_every_kind_of_file_holds_the_same_bits(tmp_path: Path, files: str):
    weights = write_release_folder(tmp_path, files=files)
    assert equal(official_weights(load_model(tmp_path)), weights)


def test_each_weight_is_converted_on_its_own(release: Path, release_weights: dict[str, Tensor]):
    model = load_model(release, dtype=torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.dtype == torch.float32
    expected = {name: weight.float() for name, weight in release_weights.items()}
    assert equal(official_weights(model), expected)


def test_token_ids_come_from_the_folders_tokenizer(release: Path):
    config = load_model(release).config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (
        TOKEN_IDS["bos_token_id"],
        TOKEN_IDS["eos_token_id"],
        TOKEN_IDS["pad_token_id"],
    )
    assert (config.image_token_id, config.image_start_token_id, config.image_end_token_id) == (
        TOKEN_IDS["image_token_id"],
        TOKEN_IDS["image_start_token_id"],
        TOKEN_IDS["image_end_token_id"],
    )


def test_what_no_file_holds_is_computed_as_in_a_fresh_model(release: Path):
    """Rotary frequencies and position indices, in float32 and integers whatever the weights are."""
    loaded = load_model(release)
    fresh = JanusFlowForConditionalGeneration(loaded.config)
    buffers = dict(loaded.named_buffers())
    assert buffers.keys() == dict(fresh.named_buffers()).keys() != set()
    for name, buffer in fresh.named_buffers():
        assert buffers[name].dtype == buffer.dtype
        assert torch.equal(buffers[name], buffer), name


def test_our_own_folder_comes_back_with_the_same_bits_and_outputs(tmp_path: Path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert equal(dict(again.state_dict()), dict(model.state_dict()))
    ids = torch.arange(6, 14)[None]
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


def test_tied_embeddings_stay_one_weight(tmp_path: Path):
    tied = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    config = tiny_model().config
    small = JanusFlowConfig(
        llm_config=tied, vision_config=config.vision_config, generation=config.generation
    )
    model = JanusFlowForConditionalGeneration(small)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert again.llm.lm_head.weight is again.llm.model.embed_tokens.weight
    assert torch.equal(again.llm.lm_head.weight, model.llm.lm_head.weight)


def test_transformers_own_names_load_our_folder(tmp_path: Path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, JanusFlowForConditionalGeneration)
    assert equal(dict(again.state_dict()), dict(model.state_dict()))


def test_the_tower_computes_what_the_fused_projections_say(
    release: Path, release_weights: dict[str, Tensor]
):
    """An own computation of one block's queries, from the release's fused weight."""
    model = load_model(release, dtype=torch.float32)
    block = model.understanding_encoder.encoder.layers[0].self_attn
    prefix = "vision_und_enc_model.vision_tower.blocks.0.attn.qkv."
    fused = release_weights[prefix + "weight"].float(), release_weights[prefix + "bias"].float()
    x = torch.randn(3, 1024, generator=torch.Generator().manual_seed(0))
    q, k, v = torch.nn.functional.linear(x, *fused).chunk(3, dim=-1)
    for projection, expected in ((block.q_proj, q), (block.k_proj, k), (block.v_proj, v)):
        torch.testing.assert_close(projection(x), expected)
    assert isinstance(model.understanding_encoder, SiglipVisionModel)


def test_transformers_own_loader_reads_the_releases_folder_to_the_same_bits(
    release: Path, release_weights: dict[str, Tensor], tmp_path: Path
):
    model = AutoModel.from_pretrained(release)
    assert equal(official_weights(model), release_weights)
    model.save_pretrained(tmp_path)  # under our names, which is what its config.json says
    assert equal(dict(load_model(tmp_path).state_dict()), dict(model.state_dict()))


# ---- refusals -------------------------------------------------------------------------------


@pytest.fixture
def copied(release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(release, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "no config.json" in refusal(tmp_path)


def test_a_damaged_config_is_named(copied: Path):
    (copied / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(copied)


def test_another_model_is_refused_by_its_type(copied: Path):
    (copied / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "'llama'" in refusal(copied)


def test_missing_weights_list_the_files_that_were_looked_for(copied: Path):
    (copied / "model.safetensors").unlink()
    message = refusal(copied)
    assert "model.safetensors" in message
    assert "pytorch_model.bin" in message


def test_a_missing_tokenizer_is_named(copied: Path):
    (copied / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refusal(copied)


@pytest.mark.parametrize("files", ["single", "bin"])
@pytest.mark.parametrize("kept", [0, 4, 1000, -100])
def test_a_truncated_file_is_refused(tmp_path: Path, files: str, kept: int):
    write_release_folder(tmp_path, files=files)
    path = next(p for p in tmp_path.iterdir() if p.suffix in (".safetensors", ".bin"))
    path.write_bytes(path.read_bytes()[:kept])
    assert "truncated or damaged" in refusal(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to mmap 11150024 bytes: Cannot allocate memory (12)"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_file_that_memory_is_too_small_for_is_not_called_damaged(
    copied: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("janusflow.interop.weight_files.safe_open", refuse)
    with pytest.raises(MemoryError, match=r"model\.safetensors: .*annot allocate memory"):
        load_model(copied)


@pytest.mark.parametrize("files", ["single", "bin"])
def test_a_git_lfs_pointer_is_called_what_it_is(tmp_path: Path, files: str):
    write_release_folder(tmp_path, files=files)
    path = next(p for p in tmp_path.iterdir() if p.suffix in (".safetensors", ".bin"))
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4092\n")
    assert "git lfs pull" in refusal(tmp_path)


def test_files_of_torch_before_1_6_are_read(copied: Path, release_weights: dict[str, Tensor]):
    (copied / "model.safetensors").unlink()
    path = copied / "pytorch_model.bin"
    torch.save(release_weights, path, _use_new_zipfile_serialization=False)
    assert equal(official_weights(load_model(copied)), release_weights)


def test_of_several_stored_dtypes_the_one_that_holds_all_is_every_weights(
    copied: Path, release_weights: dict[str, Tensor]
):
    name = "vision_gen_dec_aligner_norm.weight"
    mixed = release_weights | {name: release_weights[name].float() + 1e-6}
    save_file(mixed, copied / "model.safetensors")
    model = load_model(copied)
    assert {p.dtype for p in model.parameters()} == {model.config.dtype} == {torch.float32}
    expected = {name: weight.float() for name, weight in mixed.items()}
    assert equal(official_weights(model), expected)


def test_a_missing_shard_is_named(tmp_path: Path):
    write_release_folder(tmp_path, files="sharded")
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert "1 of 3 shards are missing (model-00002-of-00003.safetensors)" in refusal(tmp_path)


def test_an_index_cannot_point_outside_its_folder(tmp_path: Path):
    write_release_folder(tmp_path / "model", files="sharded")
    index = tmp_path / "model" / "model.safetensors.index.json"
    outside = tmp_path / "model-00001-of-00003.safetensors"
    (tmp_path / "model" / outside.name).rename(outside)
    index.write_text(index.read_text().replace(outside.name, f"../{outside.name}"))
    assert "shards are missing" in refusal(tmp_path / "model")


def test_every_wrong_weight_is_listed(copied: Path):
    path = copied / "model.safetensors"
    weights = load_file(path)
    del weights["beg_of_und_embed"]
    weights["stray"] = torch.zeros(2)
    weights["vision_gen_dec_aligner_norm.weight"] = torch.ones(7)
    save_file(weights, path)
    message = refusal(copied)
    assert "1 missing (beg_of_und_embed)" in message
    assert "1 unused (stray)" in message
    assert "vision_gen_dec_aligner_norm.weight [7] instead of [64]" in message


def test_an_error_names_the_first_few_weights_and_how_many_there_are(copied: Path):
    path = copied / "model.safetensors"
    weights = load_file(path)
    save_file({f"module.{name}": weight for name, weight in weights.items()}, path)
    message = refusal(copied)
    assert f"{len(weights)} missing (" in message
    assert f"and {len(weights) - 5} more" in message
    assert len(message) < 1000


def test_a_pickle_that_runs_code_is_refused(copied: Path, tmp_path: Path):
    (copied / "model.safetensors").unlink()
    witness = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple:
            return Path.touch, (witness,)

    torch.save({"beg_of_und_embed": Hostile()}, copied / "pytorch_model.bin")
    assert "cannot be read" in refusal(copied)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("llm_config", "num_hidden_layers", "4"),
        ("vision_config", "hidden_size", "24"),
        ("generation", "width", "16"),
        ("generation", "width", None),
        (None, "image_token_id", "3"),
        (None, "generation", [1]),
        (None, "llm_config", "llama"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_file(
    tmp_path: Path, section: str | None, key: str, value: object
):
    tiny_model().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (settings if section is None else settings[section])[key] = value
    (tmp_path / "config.json").write_text(json.dumps(settings))
    message = refusal(tmp_path)
    assert str(tmp_path / "config.json") in message
    assert key in message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("language_config", "num_hidden_layers", "4"),
        ("vision_und_enc_config", "select_layer", "1"),
        ("vision_und_enc_config", "image_size", "64"),
        ("vision_gen_enc_config", "layers_in_middle", "2"),
        ("vision_gen_dec_config", "layers_in_middle", None),
    ],
)
def test_in_the_releases_file_too(copied: Path, section: str, key: str, value: object):
    settings = release_settings()
    settings[section].get("params", settings[section])[key] = value
    (copied / "config.json").write_text(json.dumps(settings))
    message = refusal(copied)
    assert "config.json" in message
    assert key in message


def test_a_setting_we_do_not_know_is_refused_in_our_own_layout(tmp_path: Path):
    tiny_model().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["generation"]["patch_sise"] = 2
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert "patch_sise" in refusal(tmp_path)


def test_release_settings_are_those_of_the_release(reference: Path):
    """The folder the tests write differs from the real one in sizes only."""

    def kinds(value: object) -> object:
        return {k: kinds(v) for k, v in value.items()} if isinstance(value, dict) else type(value)

    official = json.loads((reference / "official_config.json").read_text())
    assert kinds(release_settings()) == kinds(official)
