"""Claims about an adapter's folder: written whole, loaded strictly, nothing else is touched."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_folders import differ, learnt, outputs, same, write_adapter
from safetensors.torch import load_file, save_file
from tiny_model import save_tiny, tiny_janusflow, tiny_model

from janusflow.config.errors import CheckpointError, ConfigError, JanusFlowError
from janusflow.config.learning.tuning import TuneConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.tuning import peft_library
from janusflow.tuning.active import adapter_weights, merge
from janusflow.tuning.files import adapter_digest, load_adapter, save_adapter
from janusflow.tuning.folder import name_of, read_adapter
from janusflow.tuning.inject import add_adapter

FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapters") / "style", tiny_model(), base="tiny")


@pytest.fixture
def jf() -> JanusFlow:
    return tiny_janusflow()


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / FILE)
    change(weights)
    save_file(weights, folder / FILE)


# ---- writing ----------------------------------------------------------------------------------


def test_the_folder_is_pefts_and_small(folder: Path):
    assert {path.name for path in folder.iterdir()} == {FILE, CONFIG, "README.md"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 50_000
    source = read_adapter(folder)
    assert source.base == "tiny"
    assert source.base_digest
    assert all(key.startswith("base_model.model.") for key in load_file(folder / FILE))


def test_the_same_adapter_is_written_to_the_same_bytes(folder: Path, tmp_path: Path):
    again = write_adapter(tmp_path / "again", tiny_model(), base="tiny")
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_a_failure_while_writing_leaves_what_was_there(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}

    def out_of_space(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", out_of_space)
    with pytest.raises(OSError, match="no space"):
        write_adapter(copied, tiny_model(), seed=5)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert [path.name for path in copied.parent.iterdir()] == ["copied"]


def test_saving_what_is_not_there_or_merged_is_refused(jf: JanusFlow, folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="'style' is not in the model"):
        save_adapter(jf.model, tmp_path / "new", name="style", base="tiny")
    load_adapter(jf.model, folder, name="style")
    merge(jf.model)
    with pytest.raises(ConfigError, match="merged"):
        save_adapter(jf.model, tmp_path / "new", name="style", base="tiny")
    assert not (tmp_path / "new").exists()


# ---- loading ----------------------------------------------------------------------------------


def test_what_was_saved_computes_the_same_after_loading(tmp_path: Path):
    trained, loaded = tiny_janusflow(), tiny_janusflow()
    before = outputs(loaded)
    add_adapter(trained.model, TuneConfig(rank=2, on=("llm.attention", "generation")))
    learnt(trained.model, "default", seed=1)
    trained.model.eval()
    save_adapter(trained.model, tmp_path, base="tiny")
    load_adapter(loaded.model, tmp_path, name="mine")
    assert same(outputs(loaded), outputs(trained))
    assert differ(outputs(loaded), before)


@pytest.mark.parametrize("settings", [{}, {"method": "dora"}, {"alpha": 12.0, "dropout": 0.5}])
def test_every_kind_loads_and_drops_nothing_out(
    jf: JanusFlow, tmp_path: Path, settings: dict[str, Any]
):
    before = outputs(jf)
    load_adapter(jf.model, write_adapter(tmp_path / "a", jf.model, **settings), name="a")
    first = outputs(jf)
    assert differ(first, before)
    assert same(outputs(jf), first)


def test_parts_held_in_full_are_loaded(jf: JanusFlow, tmp_path: Path):
    parts = ("generation_decoder_aligner", "understanding_aligner")
    write_adapter(tmp_path / "a", jf.model, on=("llm.attention",), modules_to_save=parts)
    before = outputs(jf)
    load_adapter(jf.model, tmp_path / "a", name="a")
    assert differ(outputs(jf), before)
    stored = load_file(tmp_path / "a" / FILE)
    own: Any = jf.model.generation_decoder_aligner
    wanted = stored["base_model.model.generation_decoder_aligner.weight"]
    assert torch.equal(own.modules_to_save["a"].weight, wanted)


def test_flags_dtypes_random_numbers_and_warnings_stay_as_they_were(folder: Path):
    model = tiny_model().bfloat16()
    for number, weight in enumerate(model.parameters()):
        weight.requires_grad_(number % 2 == 0)
    base = dict(model.named_parameters())
    before = {name: (each, each.requires_grad, each.clone()) for name, each in base.items()}
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_adapter(model, folder, name="a")
        load_adapter(model, folder, name="b")
    assert torch.equal(torch.get_rng_state(), state)
    after = {name.replace(".base_layer", ""): each for name, each in model.named_parameters()}
    for name, (weight, flag, value) in before.items():
        assert after[name] is weight
        assert weight.requires_grad == flag
        assert torch.equal(weight, value)
    added = [each for name, each in after.items() if ".lora_" in name]
    assert {(each.dtype, each.requires_grad) for each in added} == {(torch.float32, False)}


def test_an_adapter_on_a_bfloat16_base_has_its_stored_weights_to_the_bit(folder: Path):
    model: Any = tiny_model().bfloat16()
    load_adapter(model, folder, name="a")
    stored = load_file(folder / FILE)
    layer = model.llm.model.layers[0].self_attn.q_proj.lora_A["a"].weight
    assert torch.equal(
        layer, stored["base_model.model.llm.model.layers.0.self_attn.q_proj.lora_A.weight"]
    )


def test_the_file_is_known_by_its_digest(jf: JanusFlow, folder: Path):
    source = load_adapter(jf.model, folder, name="a")
    assert adapter_digest(jf.model, "a") == source.digest
    assert len(source.digest) == 64


def test_a_run_and_a_folder_of_pefts_with_one_adapter_within_are_found(
    jf: JanusFlow, folder: Path, tmp_path: Path
):
    shutil.copytree(folder, tmp_path / "run" / "adapter")
    shutil.copytree(folder, tmp_path / "saved" / "style")
    for where in (tmp_path / "run", tmp_path / "run" / "adapter", tmp_path / "saved"):
        assert read_adapter(where).digest == read_adapter(folder).digest
    assert name_of(tmp_path / "run") == name_of(tmp_path / "run" / "adapter") == "run"
    shutil.copytree(folder, tmp_path / "saved" / "other")
    with pytest.raises(CheckpointError, match=r"holds 2 adapters: name one of .*other, .*style"):
        load_adapter(jf.model, tmp_path / "saved", name="a")


# ---- refusals ---------------------------------------------------------------------------------


def drop_one(weights: dict[str, torch.Tensor]) -> None:
    weights.pop(next(iter(weights)))


def add_one(weights: dict[str, torch.Tensor]) -> None:
    weights["base_model.model.llm.nothing.lora_A.weight"] = torch.ones(2, 2)


def rename_all(weights: dict[str, torch.Tensor]) -> None:
    for key in list(weights):
        weights[key.replace("base_model.model.", "transformer.")] = weights.pop(key)


def reshape_one(weights: dict[str, torch.Tensor]) -> None:
    key = next(iter(weights))
    weights[key] = torch.zeros(4, 7)


def clear_second(weights: dict[str, torch.Tensor]) -> None:
    for key in weights:
        if "lora_B" in key:
            weights[key] = torch.zeros_like(weights[key])


def break_one(weights: dict[str, torch.Tensor]) -> None:
    key = next(iter(weights))
    weights[key] = torch.full_like(weights[key], torch.nan)


WRONG_WEIGHTS = {
    "missing: generation_decoder": drop_one,
    "unknown: llm.nothing.lora_A.weight": add_one,
    "none of its [0-9]+ weights has a place in this model": rename_all,
    r"of another shape: .* \(4, 7\) instead of \(4, 32\)": reshape_one,
    "changes nothing: lora_B=0": clear_second,
    "not all finite numbers": break_one,
}
WRONG_CONFIGS = {
    "type IA3: wanted LORA": {"peft_type": "IA3"},
    "does not know the settings new_idea: .* peft 9.0: pip install -U peft": {
        "new_idea": 3,
        "peft_version": "9.0",
    },
    "bias='all' is not supported here": {"bias": "all"},
    "init_lora_weights='pissa' changed the base": {"init_lora_weights": "pissa"},
    "its settings are damaged": {"layers_pattern": "layers"},
    "does not fit this model": {"target_modules": ["nowhere"]},
    "of tiny, whose weights are not those of this model": {
        "auto_mapping": {"base_digest": "77da64e7c892197a-0"}
    },
    "of tiny, which has other layers than this model": {"auto_mapping": {"base_digest": "0-0"}},
}


def check_refused(jf: JanusFlow, folder: Path, match: str) -> None:
    """One line, and a model that is as it was."""
    before = outputs(jf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(JanusFlowError, match=match) as refusal:
            load_adapter(jf.model, folder, name="a")
    assert "\n" not in str(refusal.value)
    assert same(outputs(jf), before)
    assert adapter_weights(jf.model) == {}
    assert not [each for each in jf.model.modules() if type(each).__module__.startswith("peft")]
    assert all(weight.requires_grad for weight in jf.model.parameters())


@pytest.mark.parametrize("match", WRONG_WEIGHTS)
def test_weights_that_do_not_fit_are_refused(jf: JanusFlow, copied: Path, match: str):
    change_weights(copied, WRONG_WEIGHTS[match])
    check_refused(jf, copied, match)


@pytest.mark.parametrize("match", WRONG_CONFIGS)
def test_settings_that_do_not_fit_are_refused(jf: JanusFlow, copied: Path, match: str):
    change_config(copied, **WRONG_CONFIGS[match])
    check_refused(jf, copied, match)


def test_settings_of_a_newer_peft_that_are_off_are_no_hindrance(jf: JanusFlow, copied: Path):
    change_config(copied, new_idea=None, other_idea=False)
    load_adapter(jf.model, copied, name="a")


def test_an_adapter_of_another_base_is_refused_by_its_shapes_where_it_has_no_digest(
    jf: JanusFlow, tmp_path: Path
):
    write_adapter(tmp_path / "a", tiny_model(seed=1))
    check_refused(jf, tmp_path / "a", "whose weights are not those of this model")
    model = tiny_model()
    model.generation_decoder_aligner = torch.nn.Linear(32, 17)
    write_adapter(tmp_path / "b", model, on=("generation_decoder_aligner",))
    check_refused(jf, tmp_path / "b", "which has other layers")
    change_config(tmp_path / "b", auto_mapping=None)
    check_refused(jf, tmp_path / "b", r"of another shape: .*\(17, 4\) instead of \(16, 4\)")


def test_wrong_folders_and_damaged_files_are_called_what_they_are(
    jf: JanusFlow, copied: Path, tmp_path: Path
):
    model = save_tiny(tmp_path / "model")
    check_refused(jf, model, "no adapter, this is a model's folder")
    (tmp_path / "empty").mkdir()
    check_refused(jf, tmp_path / "empty", "no adapter, there is none here")
    check_refused(jf, tmp_path / "nowhere", "no such folder: pass an adapter's folder")
    content = (copied / FILE).read_bytes()
    (copied / FILE).write_bytes(content[:100])
    check_refused(jf, copied, "cannot be read")
    (copied / FILE).write_text("version https://git-lfs.github.com/spec/v1\n")
    check_refused(jf, copied, "a git-lfs pointer")
    (copied / FILE).unlink()
    check_refused(jf, copied, "an adapter without its weights")
    (copied / CONFIG).write_text("{")
    (copied / FILE).write_bytes(content)
    check_refused(jf, copied, "cannot be read")


def test_a_hub_id_that_is_not_at_hand_says_how_to_get_it():
    with pytest.raises(CheckpointError, match="hf download some/adapter") as refusal:
        load_adapter(tiny_model(), "some/adapter", name="a")
    assert "JanusFlow-1.3B" not in str(refusal.value)


@pytest.mark.parametrize("name", ["", "a.b", "blocks", "lora_A", "llm"])
def test_a_name_that_peft_would_mistake_is_refused(jf: JanusFlow, folder: Path, name: str):
    with pytest.raises(ConfigError, match="adapter name"):
        load_adapter(jf.model, folder, name=name)
    assert adapter_weights(jf.model) == {}


def test_a_name_is_used_once(jf: JanusFlow, folder: Path):
    load_adapter(jf.model, folder, name="a")
    with pytest.raises(ConfigError, match="'a' is loaded already"):
        load_adapter(jf.model, folder, name="a")


def test_an_adapter_within_a_part_that_another_holds_in_full_is_refused(
    jf: JanusFlow, tmp_path: Path
):
    parts = ("generation_decoder",)
    write_adapter(tmp_path / "whole", jf.model, on=("llm.attention",), modules_to_save=parts)
    write_adapter(tmp_path / "within", jf.model, on=("generation_decoder",))
    check_refused_beside(jf, tmp_path / "whole", tmp_path / "within")
    check_refused_beside(tiny_janusflow(), tmp_path / "within", tmp_path / "whole")


def check_refused_beside(jf: JanusFlow, first: Path, second: Path) -> None:
    load_adapter(jf.model, first, name="a")
    before = outputs(jf)
    with pytest.raises(CheckpointError, match="held in full by one adapter"):
        load_adapter(jf.model, second, name="b")
    assert adapter_weights(jf.model) == {"a": 1.0}
    assert same(outputs(jf), before)


def test_without_peft_one_line_names_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'janusflow\[tune\]'"):
        load_adapter(tiny_model(), folder, name="a")
    with pytest.raises(ConfigError, match="peft"):
        peft_library.require_peft()
