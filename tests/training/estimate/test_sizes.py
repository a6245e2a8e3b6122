"""Models of recipes without weights: configurations at hand, or the release's sizes with a note."""

from pathlib import Path

import pytest
from tiny_run import run_model
from tiny_stage import new_from_parts, stage_recipe

from janusflow.config.errors import CheckpointError
from janusflow.interop import hub
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.recipes import read_recipe

PAPER = Path(__file__).parents[3] / "recipes" / "janusflow-1.3b"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is looked for on the hub must be looked for in its cache only."""

    def snapshot_download(name: str, *, local_files_only: bool = False) -> str:
        assert local_files_only
        raise FileNotFoundError(name)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)


def test_a_model_at_hand_is_built_without_memory_and_trains_what_the_recipe_says(root: Path):
    sizes = sizes_of(stage_recipe(root))
    wanted = {name: p.shape for name, p in run_model().named_parameters()}
    found = dict(sizes.model.named_parameters())
    assert {name: p.shape for name, p in found.items()} == wanted
    assert all(p.is_meta for p in [*found.values(), *sizes.vae.parameters()])
    assert not any(p.requires_grad for p in sizes.model.understanding_encoder.parameters())
    assert all(p.requires_grad for p in sizes.model.llm.parameters())
    assert sizes.processor is not None
    assert not sizes.notes


def test_a_new_model_is_built_around_the_configurations_of_its_parts(root: Path):
    sizes = sizes_of(stage_recipe(root, start=None, new=new_from_parts(root)))
    wanted = {name: p.shape for name, p in run_model().named_parameters()}
    assert {name: p.shape for name, p in sizes.model.named_parameters()} == wanted


def test_the_llm_may_be_a_runs(root: Path, tmp_path: Path):
    run_model().config.save_pretrained(tmp_path / "model")
    new = {name: value for name, value in new_from_parts(root).items() if name != "llm_config"}
    sizes = sizes_of(stage_recipe(root, start=None, new={**new, "llm": str(tmp_path)}))
    wanted = {name: p.shape for name, p in run_model().llm.named_parameters()}
    assert {name: p.shape for name, p in sizes.model.llm.named_parameters()} == wanted


def test_a_head_is_added_to_a_model_that_lacks_one(root: Path, tmp_path: Path):
    bare = run_model(has_repa=False)
    bare.config.save_pretrained(tmp_path)
    recipe = stage_recipe(root, start=str(tmp_path), new={"repa": {"block": 1, "hidden_size": 24}})
    assert sizes_of(recipe).model.repa_head is not None


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_the_releases_sizes_stand_for_what_its_recipes_lack_and_notes_say_so(stage: str):
    sizes = sizes_of(read_recipe(PAPER / f"{stage}.yaml"))
    assert sum(p.numel() for p in sizes.model.llm.parameters()) == 1_652_656_128
    assert sum(p.numel() for p in sizes.vae.parameters()) == 83_653_863
    assert sizes.model.repa_head is not None
    assert sizes.processor is None
    assert all("is not at hand: sizes of" in note for note in sizes.notes)
    assert len(sizes.notes) >= 2


@pytest.mark.parametrize("name", ["start", "vae"])
def test_what_another_recipe_lacks_is_an_error_that_names_it(root: Path, name: str):
    with pytest.raises(CheckpointError, match="no/where: no config"):
        sizes_of(stage_recipe(root, **{name: "no/where"}))
