"""Claims about `jf` and adapters: loaded by name, mixed, recorded, saved, and refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from adapter_folders import differ, outputs, same, write_adapter
from tiny_model import save_tiny, tiny_janusflow

import janusflow
from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.drawing.metadata import read_record, record_of, save_image
from janusflow.inference.pipeline import JanusFlow
from janusflow.tuning.folder import read_adapter


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> dict[str, Path]:
    root, model = tmp_path_factory.mktemp("adapters"), tiny_janusflow().model
    return {
        name: write_adapter(root / name, model, seed=seed, base=str(base_folder))
        for seed, name in enumerate(("style", "other"))
    }


@pytest.fixture
def own(base_folder: Path) -> JanusFlow:
    return janusflow.load(base_folder, device="cpu")


def draw(jf: JanusFlow) -> Any:
    return jf.generate("별", steps=2, seed=1)[0]


def test_loading_at_once_and_later_is_the_same(
    own: JanusFlow, base_folder: Path, folders: dict[str, Path]
):
    assert own.load_adapter(folders["style"]) == "style"
    assert own.load_adapter(folders["other"], "second", weight=0.5) == "second"
    assert own.adapters == {"style": 1.0, "second": 0.5}
    wanted = outputs(own)
    other = folders["other"]
    for adapter in (
        {"style": folders["style"], "second": f"{other}:0.5"},
        [str(folders["style"]), f"second={other}:0.5"],
    ):
        at_once = janusflow.load(base_folder, device="cpu", adapter=adapter)
        assert at_once.adapters == own.adapters
        assert same(outputs(at_once), wanted)


def test_a_run_that_left_an_adapter_stands_for_its_base_with_it(
    base_folder: Path, folders: dict[str, Path], tmp_path: Path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "adapter").symlink_to(folders["style"])
    of_run = janusflow.load(tmp_path / "run", device="cpu")
    assert of_run.adapters == {"run": 1.0}
    assert of_run.name == str(base_folder)
    beside = janusflow.load(base_folder, device="cpu", adapter=tmp_path / "run")
    assert same(outputs(of_run), outputs(beside))


def test_an_adapter_whose_base_is_gone_or_unnamed_says_what_to_do(
    folders: dict[str, Path], tmp_path: Path
):
    model = tiny_janusflow().model
    gone = write_adapter(tmp_path / "gone", model, base="/no/where")
    unnamed = write_adapter(tmp_path / "unnamed", model, base="")
    with pytest.raises(CheckpointError, match="whose base is not found: name the base, and --adap"):
        janusflow.load(gone, device="cpu")
    with pytest.raises(CheckpointError, match="does not name its base"):
        janusflow.load(unnamed, device="cpu")


def test_names_and_weights_are_paired_or_refused(own: JanusFlow, folders: dict[str, Path]):
    for folder in folders.values():
        own.load_adapter(folder, weight=0.0)
    for given, wanted in (
        (("style",), {"style": 1.0, "other": 0.0}),
        ((["style", "other"], 0.5), {"style": 0.5, "other": 0.5}),
        ((["style", "other"], [0.5, -2.0]), {"style": 0.5, "other": -2.0}),
        (({"other": 0.25},), {"style": 0.0, "other": 0.25}),
        (([],), {"style": 0.0, "other": 0.0}),
    ):
        own.set_adapters(*given)
        assert own.adapters == wanted
    for wrong, match in (
        ((["style", "other"], [1.0]), "1 weights for 2 adapters"),
        ((["style", "style"],), "name each once"),
        (({"style": 1.0}, 2.0), "beside weights by name"),
        (("nothing",), "'nothing' is not loaded"),
    ):
        with pytest.raises(ConfigError, match=match):
            own.set_adapters(*wrong)


def test_an_image_tells_its_adapters_and_is_drawn_again_from_that(
    own: JanusFlow, folders: dict[str, Path], tmp_path: Path
):
    plain = record_of(draw(own))
    assert plain is not None
    assert plain.adapters is None
    own.load_adapter(folders["style"], weight=0.5)
    image = draw(own)
    save_image(image, tmp_path / "out.png")
    record = read_record(tmp_path / "out.png")
    assert record is not None
    digest = read_adapter(folders["style"]).digest
    assert record.adapters == f"style:0.5 ({digest[:12]})"
    again = janusflow.load(record.model, device="cpu", adapter=f"{folders['style']}:0.5")
    assert draw(again).tobytes() == image.tobytes()


def test_merged_weights_are_saved_and_draw_the_same(
    own: JanusFlow, folders: dict[str, Path], tmp_path: Path
):
    own.load_adapter(folders["style"])
    with pytest.raises(CheckpointError, match="style are on: merge them first"):
        own.save_pretrained(tmp_path / "merged")
    assert not list(tmp_path.iterdir())
    own.merge_adapters()
    own.save_pretrained(tmp_path / "merged")
    merged = outputs(own)
    assert same(outputs(janusflow.load(tmp_path / "merged", device="cpu")), merged)
    assert same(outputs(own), merged)
    own.unmerge_adapters()
    own.set_adapters([])
    own.save_pretrained(tmp_path / "base")
    own.unload_adapter("style")
    assert same(outputs(janusflow.load(tmp_path / "base", device="cpu")), outputs(own))


@pytest.mark.parametrize("how", [{"quantize": "int8"}, {"offload": "parts"}])
def test_weights_that_are_not_plain_are_refused_by_name(
    base_folder: Path, folders: dict[str, Path], how: dict[str, str]
):
    (name,) = how
    with pytest.raises(ConfigError, match=f"an adapter with {name}=: .*janusflow convert"):
        janusflow.load(base_folder, device="cpu", adapter=folders["style"], **how)
    jf = janusflow.load(base_folder, device="cpu", **how)
    with pytest.raises(ConfigError, match=f"an adapter with {name}="):
        jf.load_adapter(folders["style"])


@pytest.mark.parametrize("adapter", ["", "=", "x=", "style:much", "style:inf"])
def test_what_is_no_adapter_is_refused_before_anything_is_read(adapter: Any):
    with pytest.raises(ConfigError, match="adapter="):
        janusflow.load("./nowhere", adapter=adapter)


def test_a_folder_with_signs_in_its_name_is_taken_as_it_is(
    own: JanusFlow, base_folder: Path, folders: dict[str, Path], tmp_path: Path
):
    odd = tmp_path / "a=b:0.5"
    odd.symlink_to(folders["style"])
    jf = janusflow.load(base_folder, device="cpu", adapter={"odd": str(odd)})
    assert jf.adapters == {"odd": 1.0}
    own.load_adapter(odd, "odd")
    assert same(outputs(jf), outputs(own))


def test_other_inference_keeps_working_with_an_adapter(own: JanusFlow, folders: dict[str, Path]):
    before = outputs(own)
    own.load_adapter(folders["style"])
    assert differ(outputs(own), before)
    image = draw(own)
    assert own.generate("별", steps=2, seed=1, best_of=2)[0].size == image.size
    assert isinstance(own.ask(image, "What?", max_new_tokens=4), str)


def test_importing_and_asking_for_help_do_not_load_peft():
    source = "import janusflow, sys; sys.exit('peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
