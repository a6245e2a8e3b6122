"""Any checkpoint becomes a model folder, averaged or as it was trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_adapter import adapter_recipe, write_base
from tiny_recipes import tiny_recipes
from toy_run import last_checkpoint, toy_train
from typer.testing import CliRunner

import janusflow
from janusflow.cli.main import build_app
from janusflow.config.errors import CheckpointError
from janusflow.interop.load import load_model
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.recipes import run_recipes
from janusflow.training.stage.export import export_checkpoint, find_checkpoint
from janusflow.tuning.files import load_adapter

APP = build_app({"convert": "janusflow.cli.convert", "again": "janusflow.cli.convert"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished stage that trained some parts."""
    root = tmp_path_factory.mktemp("export")
    for name, tree in tiny_recipes(root).items():
        if name < "7":
            (root / f"{name}.yaml").write_text(json.dumps(tree), encoding="utf-8")
    return run_recipes(root)[-1]


@pytest.mark.parametrize(("is_live", "kind"), [(False, "ema"), (True, "parameters")])
def test_trained_weights_are_the_checkpoints_and_the_rest_the_runs(
    run: Path, tmp_path: Path, is_live: bool, kind: str
):
    (path,) = checkpoints(run)
    export_checkpoint(path, tmp_path / "model", is_live=is_live)
    saved = last_checkpoint(run)
    written, whole = (load_model(f).state_dict() for f in (tmp_path / "model", run / "model"))
    trained = {name for name in written if f"{kind}.model.{name}" in saved}
    assert 0 < len(trained) < len(written)
    for name, value in written.items():
        expected = saved[f"{kind}.model.{name}"] if name in trained else whole[name]
        assert torch.equal(value, expected), name
    same = all(torch.equal(written[name], whole[name]) for name in trained)
    assert same != is_live  # the run's own folder holds the average


def test_convert_takes_a_checkpoint_and_leaves_nothing_else_behind(run: Path, tmp_path: Path):
    (path,) = checkpoints(run)
    new = tmp_path / "deep" / "model"
    result = CliRunner().invoke(APP, ["convert", str(path), str(new)])
    assert result.exit_code == 0, result.output
    assert [each.name for each in new.parent.iterdir()] == ["model"]
    (image,) = janusflow.load(new).generate("a red circle", steps=1, seed=0)
    assert image.size == (64, 64)


@pytest.mark.parametrize("is_live", [False, True])
def test_a_run_that_goes_on_has_a_model_only_when_asked_for_one(
    run: Path, tmp_path: Path, is_live: bool
):
    """The same one that the finished run's checkpoint makes; what it froze comes from its start."""
    going_on = tmp_path / "run"
    shutil.copytree(run, going_on, ignore=shutil.ignore_patterns("model", "done"))
    (path,) = checkpoints(run)
    assert find_checkpoint(path) == path
    assert find_checkpoint(run) is None
    assert find_checkpoint(run, is_live=True) == path
    export_checkpoint(path, tmp_path / "expected", is_live=is_live)
    live = ["--live"] if is_live else []
    result = CliRunner().invoke(APP, ["convert", str(going_on), str(tmp_path / "new"), *live])
    assert result.exit_code == 0, result.output
    for name in ("model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        found, expected = ((tmp_path / each / name) for each in ("new", "expected"))
        assert found.read_bytes() == expected.read_bytes()


def test_a_checkpoint_of_something_else_is_refused(run: Path, tmp_path: Path):
    toy_train(tmp_path)
    (tmp_path / "model").symlink_to(run / "model")
    path = checkpoints(tmp_path)[-1]
    with pytest.raises(CheckpointError, match="has 0 averaged weights of a JanusFlow"):
        export_checkpoint(path, tmp_path / "new")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage that has learnt an adapter."""
    root = write_base(tmp_path_factory.mktemp("tuned"))
    adapter_recipe(root, root / "run")
    return run_recipes(root / "run.yaml")[-1]


@pytest.mark.parametrize("is_live", [False, True])
def test_a_checkpoint_of_an_adapter_becomes_the_adapters_folder(
    tuned: Path, tmp_path: Path, is_live: bool
):
    (path,) = checkpoints(tuned)[-1:]
    live = ["--live"] if is_live else []
    result = CliRunner().invoke(APP, ["convert", str(path), str(tmp_path / "new"), *live])
    assert result.exit_code == 0, result.output
    assert [each.name for each in tmp_path.iterdir()] == ["new"]
    found = load_file(tmp_path / "new" / "adapter_model.safetensors")
    learnt = load_file(tuned / "adapter" / "adapter_model.safetensors")
    assert found.keys() == learnt.keys()
    assert all(torch.equal(found[name], each) for name, each in learnt.items()) != is_live
    load_adapter(load_model(tuned.parent / "base"), tmp_path / "new", name="again")
    assert find_checkpoint(tuned) is None
    assert find_checkpoint(tuned, is_live=True) == path


def test_an_adapters_checkpoint_has_no_layout(tuned: Path, tmp_path: Path):
    arguments = ["convert", str(checkpoints(tuned)[-1]), str(tmp_path / "new"), "--to", "official"]
    result = CliRunner().invoke(APP, arguments)
    assert result.exit_code == 1
    assert "an adapter's checkpoint, which has no layout" in result.output
    assert not (tmp_path / "new").exists()
